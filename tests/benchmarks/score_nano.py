"""Scores a codec on held-out speech beside two baselines of its rate; prints the card's tables.

    python tests/benchmarks/score_nano.py 'shards/held_out/*/*.tar' 'shards/train/*/*.tar' \
        --before OLD --whisper tiny.en/model.bin --asr whisper-base --phonemes --minutes 24

Clips are taken in turn from every speaker until the minutes are full. Metrics are the audit's; the
interval is a bootstrap over clips. Systems can be scored one at a time into the same `--json`.
`before` is the same codec with other weights, of which the gain is told clip by clip.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.audit.metrics.scores import score_pair
from pipeline.audit.metrics.speaker_similarity import load_speaker_model
from tests.benchmarks.nano_baselines import FRAME, MelKMeans, RandomEncoder
from tests.benchmarks.transcripts import (
    Counts,
    Pairs,
    Transcribe,
    count_errors,
    error_rates,
    phoneme_recogniser,
    pooled,
    recogniser,
)
from xy_codec import load_codec
from xy_codec.training.shard_audio import load_shard, local_shards, to_float

Wave = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]
System = Callable[[Wave], tuple[Wave, Codes]]
Phonemes = Callable[[Wave], list[str]]
RATE_HZ = 16_000
METRICS = ("stoi", "pesq_nb", "pesq_wb", "sim")
NAMES = {
    "codec": "xy-nano",
    "before": "before",
    "kmeans": MelKMeans.name,
    "random": RandomEncoder.name,
}


@dataclass
class Result:
    """What a system got, clip by clip."""

    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    usage: list[float] = field(default_factory=list)  # share of each codebook's entries
    seconds: float = 0.0
    texts: list[tuple[str, str]] = field(default_factory=list)
    # The same clips heard in the language of their original, as the audit hears them.
    texts_in_language: list[tuple[str, str]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)  # the clips of these texts
    phonemes: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def interval(self, name: str) -> tuple[float, float, float]:
        """Mean and 95 % interval over clips."""
        return mean(np.asarray(self.scores[name]))

    def errors(self) -> dict[str, tuple[Pairs, float]]:
        """Texts and what a clip counts at most, by what the columns are called."""
        return {
            "CER increase": (self.texts, np.inf),
            "as the audit counts it": (self.texts_in_language, 1.0),
            "phoneme errors": (self.phonemes, np.inf),
        }

    def of_clips(self, clips: list[int]) -> str:
        """Means of some clips, and the character errors of those that were transcribed."""
        means = (np.nanmean([self.scores[name][clip] for clip in clips]) for name in METRICS)
        pairs = [pair for clip, pair in zip(self.read, self.texts, strict=True) if clip in clips]
        errors = f"{error_rates(pairs)[0]:.2f} of {len(pairs)}" if pairs else ""
        return " | ".join([*(f"{mean:.3f}" for mean in means), errors])


def clips_in_turn(pattern: str, cache: str, minutes: float) -> Iterator[tuple[str, Wave]]:
    """Held-out clips of at least two seconds, one of every speaker after the other."""
    by_speaker: dict[str, list[Wave]] = defaultdict(list)
    for shard in local_shards(pattern):
        audio = load_shard(shard, RATE_HZ, cache)
        for number, speaker in enumerate(audio.speakers):
            wave = to_float(audio.clip(number).samples[: 12 * RATE_HZ])
            if len(wave) >= 2 * RATE_HZ:
                by_speaker[speaker].append(wave[: len(wave) // FRAME * FRAME])
    left = minutes * 60
    for turn in zip_longest(*by_speaker.values()):
        for speaker, wave in zip(by_speaker, turn, strict=True):
            if wave is not None and left > 0:
                left -= len(wave) / RATE_HZ
                yield speaker, wave


def training_waves(pattern: str, cache: str, minutes: float) -> list[Wave]:
    """Training clips for the baselines, spread over all shards."""
    shards = local_shards(pattern)
    waves = []
    for shard in shards:
        audio, left = load_shard(shard, RATE_HZ, cache), minutes * 60 / len(shards)
        for number in np.random.default_rng(0).permutation(len(audio)):
            if left > 0:
                waves.append(to_float(audio.clip(int(number)).samples[: 12 * RATE_HZ]))
                left -= len(waves[-1]) / RATE_HZ
    return waves


def codec_system(name: str) -> System:
    """A codec as `load_codec` finds it."""
    codec = load_codec(name, device="cpu")

    def reconstruct(wave: Wave) -> tuple[Wave, Codes]:
        codes = codec.encode([wave])[0]
        return codec.decode([codes])[0], np.asarray(codes, np.int64)

    return reconstruct


@dataclass(frozen=True)
class Ears:
    """Recognisers, and what they heard in the originals; the first clips are transcribed."""

    asr: Transcribe | None
    phoneme_asr: Phonemes | None
    texts: list[tuple[str, str]]
    phonemes: list[list[str]]

    def hear(self, number: int, made: Wave, result: Result) -> None:
        """Add what is heard in a reconstruction."""
        if self.asr and number < len(self.texts) and len(self.texts[number][0]) >= 10:
            reference, language = self.texts[number]
            result.texts.append((reference, self.asr(made)[0]))
            result.texts_in_language.append((reference, self.asr(made, language)[0]))
            result.read.append(number)
        if self.phoneme_asr:
            result.phonemes.append((self.phonemes[number], self.phoneme_asr(made)))


def listen(clips: list[tuple[str, Wave]], args: argparse.Namespace) -> Ears:
    """Load the recognisers that are wanted and let them hear the originals."""
    asr = recogniser(args.asr) if args.asr else None
    phoneme_asr = phoneme_recogniser() if args.phonemes else None
    texts = [asr(wave) for _, wave in clips[: args.asr_clips]] if asr else []
    phonemes = [phoneme_asr(wave) for _, wave in clips] if phoneme_asr else []
    return Ears(asr, phoneme_asr, texts, phonemes)


def score(system: System, clips: list[tuple[str, Wave]], ears: Ears) -> Result:
    """Run a system on every clip."""
    speaker_model = load_speaker_model()
    result, codes = Result(), []
    for number, (_, wave) in enumerate(clips):
        started = time.process_time()
        made, chosen = system(wave)
        result.seconds += time.process_time() - started
        codes.append(chosen)
        ears.hear(number, made, result)
        found = score_pair(
            wave, made, RATE_HZ, groups=("sim", "stoi", "pesq"), speaker=speaker_model
        ).scores
        for metric in METRICS:
            value = getattr(found, metric)
            result.scores[metric].append(float("nan") if value is None else value)
        if number % 20 == 19:
            means = {m: round(float(np.nanmean(v)), 3) for m, v in result.scores.items()}
            print(f"{number + 1}/{len(clips)} {means}", file=sys.stderr, flush=True)
    result.usage = [len(np.unique(row)) / 1024 for row in np.concatenate(codes, axis=1)]
    return result


def seam_jump(system: System, clips: list[tuple[str, Wave]]) -> float:
    """How far samples jump where windows of 20 s meet, beside the largest jumps elsewhere."""
    made, _ = system(np.concatenate([wave for _, wave in clips])[: 70 * RATE_HZ])
    jumps = np.abs(np.diff(made))
    seams = [20 * RATE_HZ * k - 1 for k in range(1, len(made) // (20 * RATE_HZ) + 1)]
    at_seams = max((jumps[seam] for seam in seams if seam < len(jumps)), default=0.0)
    return float(at_seams / np.percentile(jumps, 99.9))


def table(results: dict[str, Result]) -> str:
    """The card's table."""
    heads = ["STOI", "PESQ-NB", "PESQ-WB", "SIM (CAM++)", *Result().errors()]
    lines = [
        f"| | {' | '.join(heads)} | usage of the codebooks, % |",
        "|---" * (len(heads) + 2) + "|",
    ]
    for name, result in results.items():
        cells = [interval(*result.interval(metric)) for metric in METRICS]
        cells += [
            interval(*error_rates(texts, most)) if texts else "not measured"
            for texts, most in result.errors().values()
        ]
        usage = " ".join(f"{100 * share:.0f}" for share in result.usage)
        lines.append(f"| {name} | {' | '.join(cells)} | {usage} |")
    return "\n".join(lines)


def gains(now: Result, before: Result) -> str:
    """What `now` has more than `before`, clip by clip."""
    lines = []
    for metric in METRICS:
        more = np.subtract(now.scores[metric], before.scores[metric])
        lines.append(f"{metric} {interval(*mean(more))}")
    for name, (texts, most) in now.errors().items():
        if texts:
            wrong, lengths = count_errors(texts, most)
            earlier, _ = count_errors(before.errors()[name][0], most)
            lines.append(f"{name} {interval(*pooled(wrong - earlier, lengths))}")
    return "\n".join(lines)


def mean(values: Counts) -> tuple[float, float, float]:
    """The mean of what could be measured, and its interval."""
    return pooled(np.nan_to_num(values), np.isfinite(values).astype(np.float64))


def interval(middle: float, low: float, high: float) -> str:
    """A value and its interval, as the card writes them."""
    return f"{middle:.3f} ({low:.3f}–{high:.3f})".replace("-", "−")


def speaker_table(results: dict[str, Result], speakers: list[str]) -> str:
    """The same by speaker."""
    lines = [
        "| speaker | clips | system | STOI | PESQ-NB | PESQ-WB | SIM | CER increase |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for speaker in sorted(set(speakers)):
        clips = [number for number, each in enumerate(speakers) if each == speaker]
        for name, result in results.items():
            lines.append(f"| {speaker} | {len(clips)} | {name} | {result.of_clips(clips)} |")
    return "\n".join(lines)


def build(name: str, args: argparse.Namespace) -> System:
    """A system by its name on the command line."""
    if name in ("codec", "before"):
        return codec_system(getattr(args, name))
    waves = training_waves(args.train, args.cache, args.baseline_minutes)
    return MelKMeans(waves) if name == "kmeans" else RandomEncoder(waves, args.whisper)


def read_results(path: Path | None, speakers: list[str]) -> dict[str, Result]:
    """What was scored before on the same clips."""
    if path is None or not path.exists():
        return {}
    kept = json.loads(path.read_text())
    if kept["clips"] != speakers:
        raise SystemExit(f"`{path}` is of other clips; expected the same. Name another file.")
    return {name: Result(**each) for name, each in kept["systems"].items()}


def main() -> None:
    """Score, print the table, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("held_out")
    parser.add_argument("train")
    parser.add_argument("--whisper", type=Path, required=True, help="tiny.en as `model.bin`")
    parser.add_argument("--codec", default="xy-nano")
    parser.add_argument("--before", default="", help="other weights of this codec")
    parser.add_argument("--cache", default="")
    parser.add_argument("--minutes", type=float, default=24.0)
    parser.add_argument("--baseline-minutes", type=float, default=40.0)
    parser.add_argument(
        "--systems", nargs="+", default=["codec", "kmeans", "random"], choices=list(NAMES)
    )
    parser.add_argument("--asr", type=Path, help="a CTranslate2 Whisper, to count lost characters")
    parser.add_argument("--asr-clips", type=int, default=60, help="how many clips it reads")
    parser.add_argument("--phonemes", action="store_true", help="count phoneme errors, by `hama`")
    parser.add_argument("--json", type=Path, help="where scores are kept, and taken up again")
    args = parser.parse_args()
    torch.set_num_threads(2)
    clips = list(clips_in_turn(args.held_out, args.cache, args.minutes))
    speakers = [speaker for speaker, _ in clips]
    minutes = sum(len(wave) for _, wave in clips) / RATE_HZ / 60
    results = read_results(args.json, speakers)
    ears = listen(clips, args)
    for name in args.systems:
        system = build(name, args)
        results[NAMES[name]] = score(system, clips, ears)
        if name == "codec":
            jump = seam_jump(system, clips)
            print(f"Largest jump at a seam: {jump:.2f} of the 99.9th percentile elsewhere")
    if args.json:
        systems = {name: vars(result) for name, result in results.items()}
        args.json.write_text(json.dumps({"clips": speakers, "systems": systems}))
    print(f"{len(clips)} clips, {minutes:.1f} minutes, {len(set(speakers))} speakers\n")
    shown = {name: results[name] for name in NAMES.values() if name in results}
    print(table(shown), speaker_table(shown, speakers), sep="\n\n")
    if {"before", NAMES["codec"]} <= set(results):
        print(
            "", "xy-nano less before:", gains(results[NAMES["codec"]], results["before"]), sep="\n"
        )


if __name__ == "__main__":
    main()
