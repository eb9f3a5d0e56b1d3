"""Whether the ASR probe of `xytok evaluate` tells codes that mean something from others.

    make prove-evaluate
    python tests/benchmarks/prove_evaluate.py --folder FOLDER --systems log-mel xy-nano --steps 2000

The probe is trained, by the preset for small machines, on three quarters of an hour of transcribed
real speech (Czech voices of a game, fetched from Debian) and tested on other levels of the game.
Log-mel frames are the positive control, an XY-Tokenizer with random weights the negative one;
k-means of log-mel frames and two codecs of the catalogue with random weights stand beside
`xy-nano`. What was measured is kept in `--folder`, and the same command goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file

from pipeline.audit.audit import open_run
from pipeline.audit.compare import trial_run
from pipeline.audit.judge.inference import Interval
from pipeline.audit.metrics.heard_text import character_errors, normal
from pipeline.evaluate.intervals import ratio_difference
from pipeline.evaluate.probe.clips import SpokenClip, read_clips
from pipeline.evaluate.probe.inputs import ProbeInput, codec_input
from pipeline.evaluate.probe.plan import PRESETS, ProbePlan
from pipeline.evaluate.probe.result import probe
from pipeline.evaluate.probe.training import Checkpoint
from pipeline.evaluate.transcripts import Transcript, character_error_rate, word_error_rate
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.benchmarks.nano_baselines import MelKMeans, mel_rows
from tests.support.narrow_xy import narrow_params, narrow_state
from tests.support.tiny_codecs import make_transformers
from tests.support.transcribed_speech import write_transcribed_shards
from xy_codec.training.shard_audio import load_shard, local_shards, to_float
from xy_codec.xy.config import MelConfig
from xy_codec.xy.mel import LogMel

RATE_HZ, FRAME = 16_000, 1280
KMEANS_MINUTES = 15
Clips = list[SpokenClip]
System = Callable[[Path], tuple[ProbeInput, Clips, Clips]]


def waves_of(shards: Sequence[Path]) -> list[tuple[SpokenClip, NDArray[np.float32]]]:
    found = []
    for shard in local_shards(str(shards[0].parent / "*.tar")):
        audio = load_shard(shard, RATE_HZ)
        for number in range(len(audio)):
            if text := normal(audio.texts[number]):
                key = f"{Path(shard.url).stem}_W{number:06d}"
                clip = SpokenClip(key, hash(key), np.empty((0, 0)), text, audio.speakers[number])
                wave = to_float(audio.clip(number).samples)
                found.append((clip, wave[: len(wave) // FRAME * FRAME]))
    return [(clip, wave) for clip, wave in found if len(wave)]


def log_mel(folder: Path) -> tuple[ProbeInput, Clips, Clips]:
    """Two frames of 10 ms side by side."""
    mel = LogMel(MelConfig())

    def clips(shards: Sequence[Path]) -> Clips:
        found = waves_of(shards)
        frames = (mel(torch.from_numpy(wave)[None])[0].reshape(-1, 160) for _, wave in found)
        pairs = zip(found, frames, strict=True)
        return [replace(clip, steps=each.T.numpy()) for (clip, _), each in pairs]

    source = ProbeInput("log-mel frames", 50.0, embed=lambda steps: steps.T)
    train, test = write_transcribed_shards(folder)
    return source, clips(train), clips(test)


def k_means(folder: Path) -> tuple[ProbeInput, Clips, Clips]:
    train, test = (waves_of(shards) for shards in write_transcribed_shards(folder))
    count = KMEANS_MINUTES * 60 * RATE_HZ // int(np.mean([len(wave) for _, wave in train]))
    codec = MelKMeans([wave for _, wave in train[:: max(1, len(train) // count)]])

    def clips(found: list[tuple[SpokenClip, NDArray[np.float32]]]) -> Clips:
        codes = (codec.code(mel_rows(codec.mel, wave))[0].numpy() for _, wave in found)
        pairs = zip(found, codes, strict=True)
        return [replace(clip, steps=each) for (clip, _), each in pairs]

    def embed(codes: NDArray[Any]) -> NDArray[np.float32]:
        books = zip(codec.code.books, torch.from_numpy(codes).long(), strict=True)
        return torch.stack([book.lookup(row) for book, row in books]).sum(0).numpy()

    return ProbeInput("its embeddings", 12.5, embed), clips(train), clips(test)


def of_codec(make: Callable[[Path], str], folder: Path) -> tuple[ProbeInput, Clips, Clips]:
    """A codec of the catalogue, by the way that `xytok evaluate` goes."""
    request = CodecRequest(make(folder / "codecs"), device="cpu")
    storage, name = Storage(), Path(request.source).name
    sides = []
    for what, shards in zip(("train", "test"), write_transcribed_shards(folder), strict=True):
        output = str(folder / "runs" / f"{name}-{what}")
        trial_run(request, [str(each) for each in shards], output, storage, None)
        sides.append(read_clips(open_run(storage, output), storage))
    return codec_input(request.load()), sides[0], sides[1]


def random_xy(folder: Path) -> str:
    place = folder / "random-xy"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yaml").write_text(yaml.safe_dump({"generator_params": narrow_params()}))
    if not (place / "weights.safetensors").exists():
        save_file(narrow_state(), place / "weights.safetensors")
    return str(place)


def random_class(model_type: str, folder: Path) -> str:
    place = folder / f"random-{model_type}"
    return str(place if place.exists() else make_transformers(model_type, place))


SYSTEMS: dict[str, System] = {
    "log-mel": log_mel,
    "xy-nano": partial(of_codec, lambda _: "xy-nano"),
    "k-means": k_means,
    "random-xy": partial(of_codec, random_xy),
    "random-dac": partial(of_codec, partial(random_class, "dac")),
    "random-mimi": partial(of_codec, partial(random_class, "mimi")),
}


def measure(name: str, folder: Path, plan: ProbePlan) -> dict[str, Any]:
    source, train, test = SYSTEMS[name](folder)
    started = time.process_time()
    place = Checkpoint(Storage(), str(folder / "probes" / f"{name}-{plan.steps}.pt"))

    def show(step: int, loss: float) -> None:
        print(f"{name}: step {step}, loss {loss:.3f}", file=sys.stderr, flush=True)

    found = probe(source, train, test, plan, checkpoint=place, show=show)
    seconds = time.process_time() - started
    return asdict(found) | {"rate_hz": source.rate_hz, "seconds": seconds}


def words(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    if not interval.is_known:
        return f"{interval.estimate:.3f} (bounds unknown)"
    return f"{interval.estimate:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def table(results: dict[str, dict[str, Any]]) -> str:
    """Errors with intervals by speakers, and each system against the controls, clip by clip."""
    lines = [
        "| | reads | steps/s | CER | WER | CER − that of log-mel | CER − that of random-xy |",
        "|---|---|---|---|---|---|---|",
    ]
    transcripts = {
        name: [Transcript(**each) for each in result["transcripts"]]
        for name, result in results.items()
    }
    for name, result in results.items():
        own = transcripts[name]
        cells = [name, result["read"], f"{result['rate_hz']:g}"]
        cells += [words(rate(own)) for rate in (character_error_rate, word_error_rate)]
        cells += [
            words(difference(own, transcripts[other])) if other in results and other != name else ""
            for other in ("log-mel", "random-xy")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(own: list[Transcript], other: list[Transcript]) -> Interval:
    """Of the clips that both have: codecs leave out what is shorter than a frame."""
    others = {_number(each): each for each in other}
    pairs = [(each, others[_number(each)]) for each in own if _number(each) in others]
    assert all(mine.reference == theirs.reference for mine, theirs in pairs)
    errors = [[character_errors(c.reference, c.text) for c in pair] for pair in pairs]
    return ratio_difference(
        [mine.edits for mine, _ in errors],
        [theirs.edits for _, theirs in errors],
        [mine.length for mine, _ in errors],
        [mine.speaker for mine, _ in pairs],
    )


def _number(transcript: Transcript) -> str:
    return transcript.key.rpartition("W")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".runs/prove-evaluate"))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--steps", type=int, default=PRESETS["small"].steps)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    plan = replace(PRESETS["small"], steps=args.steps)
    kept = args.folder / f"results-{args.steps}.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in args.systems:
        if name not in results:
            results[name] = measure(name, args.folder, plan)
            kept.write_text(json.dumps(results, ensure_ascii=False))
            print(table(results), flush=True)
    first = next(iter(results.values()))
    speakers = {each["speaker"] for each in first["transcripts"]}
    seconds = sum(result["seconds"] for result in results.values())
    print(
        f"\n{first['learned_clips']} clips learned, {len(first['transcripts'])} tested of "
        f"{len(speakers)} speakers; {args.steps} steps of {plan.batch_clips} clips, "
        f"{plan.hidden} units; {seconds / 60:.1f} minutes of one core in all\n"
    )
    print(table(results))


if __name__ == "__main__":
    main()
