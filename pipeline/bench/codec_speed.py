"""The speed of a codec: encoding and decoding, over clip lengths and numbers of clips together.

The codec is called directly; reading, decoding of audio and writing are not part of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.bench.clips import MEAN_SECONDS, emilia_lengths, waveforms
from pipeline.bench.flops import record_matrix_work
from pipeline.bench.timing import repeat_for, synchronised, time_once
from xy_codec.contract import Codec, Waveform

LENGTHS_SECONDS = (3.0, 10.0, 30.0)
# How many clips are given together: some even on a slow machine, not too many on a fast one.
_FEWEST, _MOST = 4, 256


@dataclass(frozen=True, slots=True)
class CodecFigure:
    """One cell of the grid: clips of one length, one direction and one precision."""

    direction: str
    precision: str
    clip_seconds: float
    clips_together: int
    times_realtime: float
    gflops: float
    share_of_matmul: float


@dataclass(frozen=True, slots=True)
class GridPlan:
    """What to measure, and how long each cell may take."""

    lengths_seconds: Sequence[float] = LENGTHS_SECONDS
    cell_seconds: float = 2.0
    decode: bool = True


def measure_grid(codec: Codec, plan: GridPlan, matmul_flops: float) -> Iterator[CodecFigure]:
    """Yield figures for one clip and for several clips of every length, then for Emilia's mix."""
    rate_hz = codec.shape.input_rate_hz
    for seconds in plan.lengths_seconds:
        (clip,) = waveforms([seconds], rate_hz)
        alone = time_once(synchronised(partial(codec.encode, [clip])))
        yield from _cells(codec, [clip], plan, matmul_flops)
        count = int(plan.cell_seconds / max(alone, 1e-6))
        if count >= _FEWEST:
            yield from _cells(codec, [clip] * min(count, _MOST), plan, matmul_flops)
    yield from _cells(codec, emilia_clips(codec, plan.cell_seconds), plan, matmul_flops)


def emilia_clips(codec: Codec, seconds: float) -> list[Waveform]:
    """Clips of Emilia's lengths, as many as this codec encodes in about `seconds`."""
    rate_hz = codec.shape.input_rate_hz
    (clip,) = waveforms([MEAN_SECONDS], rate_hz)
    alone = time_once(synchronised(lambda: codec.encode([clip])))
    count = min(max(int(seconds / max(alone, 1e-6)), _FEWEST), _MOST)
    return waveforms(emilia_lengths(count), rate_hz)


def _cells(
    codec: Codec, clips: list[Waveform], plan: GridPlan, matmul_flops: float
) -> Iterator[CodecFigure]:
    yield _cell("encode", codec, clips, partial(codec.encode, clips), plan, matmul_flops)
    if plan.decode and codec.identity.decodes != "no":
        decode = partial(codec.decode_encoded, codec.encode_with_side(clips))
        yield _cell("decode", codec, clips, decode, plan, matmul_flops)


def _cell(
    direction: str,
    codec: Codec,
    clips: list[Waveform],
    action: Callable[[], object],
    plan: GridPlan,
    matmul_flops: float,
) -> CodecFigure:
    # The run that is recorded is slower than others; it serves as their warm-up.
    flops = record_matrix_work(action).flops
    seconds = repeat_for(synchronised(action), plan.cell_seconds).median
    lengths = np.array([len(clip) for clip in clips]) / codec.shape.input_rate_hz
    return CodecFigure(
        direction=direction,
        precision=codec.identity.precision,
        clip_seconds=float(lengths.mean()),
        clips_together=len(clips),
        times_realtime=float(lengths.sum()) / seconds,
        gflops=flops / seconds / 1e9,
        share_of_matmul=flops / seconds / matmul_flops,
    )
