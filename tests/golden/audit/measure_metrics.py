"""Measures `clean_metrics.csv`: scores of real clips through a codec, which simulated audits draw.

Run `python tests/golden/audit/measure_metrics.py SHARD.tar ...`; the clips are spread over the
shards. `--noise 0.1 --target noisy_metrics.csv` adds noise to the originals. `--codec NAME` takes
that codec, the default is Opus at its lowest rate.
"""

import argparse
import csv
import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from pipeline.audit.findings import METRIC_NAMES
from pipeline.audit.metrics.scores import score_pair
from pipeline.audit.metrics.speaker_similarity import load_speaker_model
from tests.support.shard_maker import read_members
from xy_codec.audio import mono, resample

FOLDER = Path(__file__).parent


def clips(path: str, count: int) -> Iterator[np.ndarray]:
    payloads = list(read_members(Path(path), ".mp3").values())
    for pick in np.linspace(0, len(payloads) - 1, min(count, len(payloads))).astype(int):
        file = io.BytesIO(payloads[pick])
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        waveform = resample(mono(samples), rate, 16000)
        if 2.0 <= len(waveform) / 16000 <= 12.0:
            yield waveform


def through_opus(waveform: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, waveform, 16000, format="OGG", subtype="OPUS", compression_level=0.98)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--codec")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--noise", type=float, default=0.0, help="white noise over the clip's RMS")
    parser.add_argument("--target", default="clean_metrics.csv")
    args = parser.parse_args()
    codec = None
    if args.codec:
        from xy_codec import load_codec

        codec = load_codec(args.codec)
    speaker = load_speaker_model()
    with (FOLDER / args.target).open("w", newline="") as file:
        writer = csv.DictWriter(file, METRIC_NAMES)
        writer.writeheader()
        for number, waveform in enumerate(spread(args.shards, args.count)):
            waveform = noisy(waveform, args.noise, number)
            decoded = codec.decode(codec.encode([waveform]))[0] if codec else through_opus(waveform)
            scores = score_pair(waveform, decoded, speaker=speaker).scores
            row = {name: getattr(scores, name) for name in METRIC_NAMES}
            writer.writerow({k: "" if v is None else f"{v:.5g}" for k, v in row.items()})
            file.flush()
            print(number + 1, file=sys.stderr)


def spread(shards: list[str], count: int) -> Iterator[np.ndarray]:
    """Clips of all shards in turn."""
    sources = [clips(path, -(-count // len(shards))) for path in shards]
    for turn in itertools.zip_longest(*sources):
        yield from (waveform for waveform in turn if waveform is not None)


def noisy(waveform: np.ndarray, share: float, seed: int) -> np.ndarray:
    level = share * float(np.sqrt(np.mean(waveform**2)))
    noise = np.random.default_rng(seed).normal(0, level, len(waveform))
    return (waveform + noise).astype(np.float32)


if __name__ == "__main__":
    main()
