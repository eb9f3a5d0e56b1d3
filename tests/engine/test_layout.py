"""Clips end to end in a buffer of fixed shape, and what of packs may change without other bits."""

import numpy as np
import pytest
import torch

from tests.support.golden_case import small_codec
from xy_codec.contract import Counters
from xy_codec.engine.geometry import CPU, CUDA, Geometry
from xy_codec.engine.layout import Layout, lay_out_in_tiles
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.packed_model import merge_steps, split_steps

RNG = np.random.default_rng(8)


def clips(*lengths: int) -> list[np.ndarray]:
    return [(RNG.standard_normal(length) * 0.1).astype(np.float32) for length in lengths]


def test_shifts_stay_inside_their_clip() -> None:
    layout = lay_out_in_tiles([(4, 4), (8, 5)], 16, 16, torch.device("cpu"))
    steps = torch.arange(1.0, 17.0)[:, None]
    assert layout.shift(steps, 1)[:12, 0].tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10, 11]
    assert layout.shift(steps, -2)[:12, 0].tolist() == [3, 4, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0]
    assert layout.shift(steps, 0) is steps
    assert layout.shift(steps, 5)[:12, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7]


def test_other_rates_keep_every_clip_in_its_place() -> None:
    layout = lay_out_in_tiles([(4, 4), (8, 5)], 16, 8, torch.device("cpu"))
    fast, slow = layout.faster(2), layout.slower(4)
    assert fast.place[:24].tolist() == [*range(8), *range(16)]
    assert slow.place[:3].tolist() == [0, 0, 1]
    assert [(span.start, span.steps) for span in fast.spans] == [(0, 8), (8, 16)]
    assert [(span.start, span.steps) for span in slow.spans] == [(0, 1), (1, 2)]
    assert (fast.tile_steps, slow.tile_steps) == (16, 2)


def test_products_always_see_the_same_number_of_steps() -> None:
    seen = []

    def double(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return 2 * part

    steps = torch.randn(24, 3)
    layout = lay_out_in_tiles([(4, 4), (16, 16)], 24, 8, torch.device("cpu"))
    assert torch.equal(layout.stepwise(double, steps), 2 * steps)
    assert seen == [(8, 3)] * 3


def test_merging_and_splitting_steps_are_inverse() -> None:
    steps = torch.arange(48.0).reshape(8, 6)
    assert merge_steps(steps, 4)[0].tolist() == list(range(24))
    assert torch.equal(split_steps(merge_steps(steps, 4), 4), steps)


@pytest.mark.parametrize("in_flight", [0, 1, 3])
def test_packs_in_flight_are_tuning(in_flight: int) -> None:
    codec = small_codec("small_xy", 10.0)
    waves = clips(*RNG.integers(1280, 60_000, 20).tolist(), 0)
    expected = codec.encode(waves)
    before = codec.geometry, codec.counters.packs_in_flight
    try:
        codec.geometry = Geometry(before[0].tile_steps, before[0].tile_steps)
        codec.counters.packs_in_flight = in_flight
        got = dict(codec.encode_stream(enumerate(waves)))
    finally:
        codec.geometry, codec.counters.packs_in_flight = before
    assert all(np.array_equal(got[i].codes, codes) for i, codes in enumerate(expected))


def test_out_of_memory_means_fewer_packs_in_flight_and_the_same_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec = small_codec("small_xy", 10.0)
    waves = clips(*[100_000] * 24)
    expected = codec.encode(waves)
    shapes = fail_to_encode(codec, monkeypatch, calls={3, 6})
    counters = Counters(packs_in_flight=2)
    monkeypatch.setattr(codec, "counters", counters)
    monkeypatch.setattr(codec, "geometry", Geometry(CPU.tile_steps, CPU.tile_steps))
    got = dict(codec.encode_stream(enumerate(waves)))
    assert all(np.array_equal(got[i].codes, codes) for i, codes in enumerate(expected))
    assert (counters.times_out_of_memory, counters.packs_in_flight) == (2, 0)
    assert shapes[2] == shapes[3]


def test_memory_that_is_too_small_for_one_pack_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = small_codec("small_xy", 10.0)
    fail_to_encode(codec, monkeypatch, calls={1, 2})
    with pytest.raises(torch.cuda.OutOfMemoryError):
        codec.encode(clips(20_000))


def fail_to_encode(
    codec: PackedCodec, monkeypatch: pytest.MonkeyPatch, calls: set[int]
) -> list[torch.Size]:
    """Let some calls of the encoder find no memory; the shapes of all calls are returned."""
    shapes: list[torch.Size] = []
    encode = codec.encoder.forward

    def short_of_memory(mel: torch.Tensor, layout: Layout, num_codebooks: int) -> torch.Tensor:
        shapes.append(mel.shape)
        if len(shapes) in calls:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(mel, layout, num_codebooks)

    monkeypatch.setattr(codec.encoder, "forward", short_of_memory)
    return shapes


def test_the_geometry_of_gpus_gives_the_same_codes_here() -> None:
    codec = small_codec("small_xy", 10.0)
    waves = clips(40_000, 3_000)
    expected = codec.encode(waves)
    try:
        codec.geometry = CUDA
        got = codec.encode(waves)
    finally:
        codec.geometry = CPU
    # Other numbers of steps may differ in last bits, which flips a code only at a tie.
    assert all((a == b).mean() > 0.99 for a, b in zip(got, expected, strict=True))
