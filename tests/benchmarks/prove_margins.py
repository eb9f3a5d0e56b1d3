"""What differences of codes that mean nothing cost in sound: `make prove-margins`.

The bundled speech is encoded by `xy-nano` as it is, and again with what should not matter: half
precision (`fast`) where this machine multiplies so, weights rounded to bfloat16, and the last bit
of 16-bit audio dithered. Both codes are decoded and scored against the original, as an audit does.
The margins of `pipeline/audit/judge/thresholds.py` must hold the mean of 20 clips for all of these.
`--quick` takes the 24 shortest clips.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipeline.audit.judge.inference import mean_interval
from pipeline.audit.judge.thresholds import DRIFT_MARGINS
from pipeline.audit.metrics.score_pool import Pair, ScorePool
from pipeline.corpus.decode import ClipBounds, ClipFault, decode_clip
from pipeline.worker.flip_rate import flip_rates
from tests.support.needs import HAS_FLOAT16
from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import resample
from xy_codec.contract import Codec, Codes, Waveform
from xy_codec.loading import load_codec

CODEC, RATE_HZ = "xy-nano", 16000
CLIPS, QUICK_CLIPS = 20, 24


def speech(rate_hz: int) -> list[Waveform]:
    found = []
    for shard in sorted(SPEECH.glob("*/*/*.tar")):
        for payload in read_members(shard, ".mp3").values():
            clip = decode_clip(payload, rate_hz, ClipBounds())
            if not isinstance(clip, ClipFault):
                found.append(clip.waveform)
    return found


def dithered(waves: Sequence[Waveform]) -> list[Waveform]:
    rng = np.random.default_rng(0)
    noise = (rng.uniform(-1, 1, len(wave)) / 2**15 for wave in waves)
    return [(wave + each).astype(np.float32) for wave, each in zip(waves, noise, strict=True)]


def rounded(codec: Codec) -> Codec:
    """The codec with weights that have lost 16 of their bits."""
    modules = [value for value in vars(codec).values() if isinstance(value, torch.nn.Module)]
    assert modules
    for parameter in (each for module in modules for each in module.parameters()):
        parameter.data = parameter.data.bfloat16().float()
    return codec


def variants(waves: Sequence[Waveform]) -> Iterator[tuple[str, list[Codes]]]:
    if HAS_FLOAT16:
        yield "precision `fast`", load_codec(CODEC, precision="fast").encode(waves)
    yield "weights in bfloat16", rounded(load_codec(CODEC)).encode(waves)
    yield "last bit dithered", load_codec(CODEC).encode(dithered(waves))


def main() -> None:
    codec = load_codec(CODEC)
    shape = codec.shape
    waves = speech(shape.input_rate_hz)
    if "--quick" in sys.argv:
        waves = sorted(waves, key=len)[:QUICK_CLIPS]
    exact = codec.encode(waves)

    def sounds(codes: Sequence[Codes]) -> list[Waveform]:
        decoded = codec.decode(list(codes))
        return [resample(each, shape.output_rate_hz, RATE_HZ) for each in decoded]

    originals = [resample(each, shape.input_rate_hz, RATE_HZ) for each in waves]
    print(
        f"{len(waves)} clips, {sum(map(len, originals)) / RATE_HZ:.0f} s, {CODEC}, margins "
        + ", ".join(f"{name} {margin:g}" for name, margin in DRIFT_MARGINS.items())
    )
    print(
        "| variant | codes that differ | metric | mean difference | per clip: SD, lowest | "
        f"lowest and highest mean of {CLIPS} clips | margin |"
    )
    print("|---|---|---|---|---|---|---|")
    with ScorePool(2, ("sim", "stoi", "pesq"), "campplus") as pool:

        def scored(codes: Sequence[Codes]) -> dict[int, object]:
            pairs = (
                Pair(number, left, right)
                for number, (left, right) in enumerate(zip(originals, sounds(codes), strict=True))
            )
            return {number: each.scores for number, each in pool.scores(pairs)}

        before = scored(exact)
        for name, codes in variants(waves):
            after, rates = scored(codes), flip_rates(exact, codes)
            rate = float(np.mean(rates)) if rates else 0.0
            for metric, margin in DRIFT_MARGINS.items():
                pairs = [(getattr(after[n], metric), getattr(before[n], metric)) for n in before]
                lost = np.array([a - b for a, b in pairs if a is not None and b is not None])
                print(row(name, rate, metric, lost, margin), flush=True)


def row(name: str, rate: float, metric: str, lost: np.ndarray, margin: float) -> str:
    rng = np.random.default_rng(0)
    means = [rng.choice(lost, CLIPS, replace=False).mean() for _ in range(2000)]
    low, high = np.quantile(means, [0.005, 0.995])
    mean = mean_interval(lost)
    assert max(-low, high) <= margin, (name, metric, low, high, margin)
    return (
        f"| {name} | {rate:.2%} | {metric} | {mean.estimate:+.4f} ({mean.low:+.4f} to "
        f"{mean.high:+.4f}) | {lost.std():.4f}, {lost.min():+.4f} | {low:+.4f}, {high:+.4f} | "
        f"{margin:g} |"
    )


if __name__ == "__main__":
    main()
