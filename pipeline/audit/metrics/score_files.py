"""Pairs of audio files to score: two files, or two folders matched by relative path."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.audit.metrics.score_pool import Pair
from pipeline.audit.metrics.scores import RATE_HZ
from pipeline.errors import UsageError
from xy_codec.audio import read_audio
from xy_codec.errors import AudioError

_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


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
            f"{len(alone)} files have no partner ({shown}); expected the same names in "
            f"`{original}` and `{reconstruction}`. Add or remove what is alone."
        )
    return [FilePair(name, left[name], right[name]) for name in sorted(left)]


def read_pairs(pairs: list[FilePair], unreadable: dict[str, str]) -> Iterator[Pair[str]]:
    """The sounds of pairs at 16 kHz; those that cannot be read are noted by name, with why."""
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
