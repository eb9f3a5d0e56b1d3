"""`xytok score`: the audit's metrics of any two audio files or folders, for any codec."""

import json as json_text
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions, tell
from jobs.options import Json, Metrics, Processes, SimModel
from pipeline.errors import UsageError
from pipeline.plural import plural

if TYPE_CHECKING:
    from pipeline.audit.metrics.score_pool import Pair
    from pipeline.audit.metrics.scores import PairScores

_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def score(
    original: Annotated[Path, Parameter(help="an audio file, or a folder of them.")],
    reconstruction: Annotated[Path, Parameter(help="the same, decoded.")],
    /,
    *,
    metrics: Metrics = None,
    sim_model: SimModel = "campplus",
    processes: Processes = None,
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Score all pairs; 1 if one of them has a missing figure that was asked for."""
    from pipeline.audit.metrics.score_pool import ScorePool
    from pipeline.audit.metrics.scores import check_groups

    groups = check_groups(metrics)
    pairs = match_files(original, reconstruction)
    processes = processes if processes is not None or len(pairs) > 1 else 1
    unreadable: dict[str, str] = {}
    found = {}
    with ScorePool(processes, groups, sim_model) as pool:
        for name, scored in pool.scores(read_pairs(pairs, unreadable)):
            found[name] = scored
            if json:
                print(_json_line(name, scored, pool.sim_name), flush=True)
    if json:
        for name in unreadable:
            print(json_text.dumps({"pair": name, "reasons": {"original": "unreadable"}}))
    else:
        print("\n".join(_table(found, pool.sim_name)))
    for why in unreadable.values():
        tell(why)
    return int(bool(unreadable) or any(map(_missing, found.values())))


def _missing(scored: "PairScores") -> dict[str, str]:
    return {name: reason for name, reason in scored.reasons.items() if reason != "not_asked"}


def _json_line(name: str, scored: "PairScores", sim_name: str) -> str:
    figures = {key: value for key, value in asdict(scored.scores).items() if value is not None}
    reasons = _missing(scored)
    return json_text.dumps({"pair": name, "sim_model": sim_name, **figures, "reasons": reasons})


def _table(found: "Mapping[str, PairScores]", sim_name: str) -> list[str]:
    """One line a metric: mean, smallest, largest, and how many pairs have it."""
    from pipeline.audit.findings import METRICS

    lines = [f"{'':36}{'mean':>9}{'lowest':>9}{'highest':>9}{'pairs':>7}"]
    for metric in METRICS:
        values = [getattr(scored.scores, metric.name) for scored in found.values()]
        known = sorted(value for value in values if value is not None)
        label = f"{metric.label} ({sim_name})" if metric.name == "sim" else metric.label
        label += f", {metric.unit}" if metric.unit else ""
        if known:
            mean = sum(known) / len(known)
            lines.append(f"{label:36}{mean:9.3f}{known[0]:9.3f}{known[-1]:9.3f}{len(known):7d}")
    reasons: dict[str, list[str]] = {}
    for pair, scored in found.items():
        for name, reason in _missing(scored).items():
            reasons.setdefault(f"{name}: {reason}", []).append(pair)
    lines += [
        f"missing  {what} ({plural(len(names), 'pair')}, the first is `{names[0]}`)"
        for what, names in sorted(reasons.items())
    ]
    return lines


@dataclass(frozen=True, slots=True)
class FilePair:
    """An original, its reconstruction, and the name both go by."""

    name: str
    original: Path
    reconstruction: Path


def match_files(original: Path, reconstruction: Path) -> list[FilePair]:
    """The pair of two files, or those of two folders: same relative path, any audio suffix."""
    if original.is_file() and reconstruction.is_file():
        return [FilePair(original.name, original, reconstruction)]
    if not (original.is_dir() and reconstruction.is_dir()):
        missing = next((p for p in (original, reconstruction) if not p.exists()), None)
        what = f"`{missing}` does not exist" if missing else "One is a folder and one a file"
        raise UsageError(f"{what}; expected two audio files or two folders of them. Check both.")
    left, right = _audio_below(original), _audio_below(reconstruction)
    alone = sorted(set(left) ^ set(right))
    if alone or not left:
        shown = ", ".join(alone[:5]) or "no audio at all"
        raise UsageError(
            f"{plural(len(alone), 'file has', 'files have')} no partner ({shown}); expected the "
            "same names in "
            f"`{original}` and `{reconstruction}`. Add or remove what is alone."
        )
    return [FilePair(name, left[name], right[name]) for name in sorted(left)]


def read_pairs(pairs: list[FilePair], unreadable: dict[str, str]) -> "Iterator[Pair[str]]":
    """The sounds of pairs at 16 kHz; those that cannot be read are noted by name, with why."""
    from pipeline.audit.metrics.score_pool import Pair
    from pipeline.audit.metrics.scores import RATE_HZ
    from xy_codec.audio import read_audio
    from xy_codec.errors import AudioError

    for pair in pairs:
        try:
            original = read_audio(pair.original, RATE_HZ)
            reconstruction = read_audio(pair.reconstruction, RATE_HZ)
        except AudioError as error:
            unreadable[pair.name] = str(error)
        else:
            yield Pair(pair.name, original, reconstruction)


def _audio_below(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        name = str(path.relative_to(folder).with_suffix(""))
        if other := found.get(name):
            raise UsageError(
                f"`{other}` and `{path}` have one name, and either may be the partner of `{name}`; "
                "expected one audio file of a name in a folder. Move one of them away."
            )
        found[name] = path
    return found
