"""One model, two layouts: padded batches for training, packed buffers for inference."""

import numpy as np
import pytest
import torch

from tests.support.golden_case import Group, checkpoint_of, small_codec
from xy_codec.engine.geometry import CPU, CUDA, Geometry
from xy_codec.engine.layout import PaddedLayout, merge_steps, split_steps
from xy_codec.engine.packed_codec import NeuralCodec
from xy_codec.engine.packing import PackedLayout, lay_out
from xy_codec.weights.checkpoint import build_model
from xy_codec.xy.config import CodecConfig

CONFIG = CodecConfig.from_mapping(Group("small_xy").info["params"])
RNG = np.random.default_rng(8)


def clips(*lengths: int) -> list[np.ndarray]:
    return [(RNG.standard_normal(length) * 0.1).astype(np.float32) for length in lengths]


def test_padded_batches_give_the_codes_of_packed_buffers() -> None:
    waves = clips(32_000, 20_480, 7_777)
    model = build_model(CONFIG, checkpoint_of(Group("small_xy")))
    batch = torch.zeros(3, 33_280)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    tokens = PaddedLayout(torch.tensor([-(-len(wave) // 160) // 2 for wave in waves]), 104)
    with torch.inference_mode():
        mel = model.mel(batch)
        codes = model.quantize(model.embed(mel, tokens), tokens)
    for got, wanted in zip(codes, small_codec("small_xy", 10.0).encode(waves), strict=True):
        assert np.array_equal(got[: wanted.shape[1]].T.numpy(), wanted)


def test_gradients_reach_every_parameter_through_padded_batches() -> None:
    model = build_model(CONFIG, checkpoint_of(Group("small_xy"))).requires_grad_(True)
    tokens = PaddedLayout(torch.tensor([40, 28]), 40)
    rows = model.embed(torch.randn(2, 80, 80), tokens)
    quantized = model.quantizer.output_proj(model.quantizer.input_proj(rows))
    model.vocos.head.to_samples(model.reconstruct(quantized, tokens)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_an_empty_clip_in_a_padded_batch_gives_no_nan() -> None:
    tokens = PaddedLayout(torch.tensor([8, 0]), 8)
    attended = tokens.attend(torch.randn(2, 8, 96), 2)
    assert torch.isfinite(attended).all()


def test_shifts_stay_inside_their_clip() -> None:
    layout = lay_out([(4, 4), (8, 5)], 16, torch.device("cpu"))
    rows = torch.arange(1.0, 17.0)[:, None]
    assert layout.shift(rows, 1)[:12, 0].tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10, 11]
    assert layout.shift(rows, -2)[:12, 0].tolist() == [3, 4, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0]
    batch = torch.arange(1.0, 5.0).view(1, 4, 1)
    padded = PaddedLayout(torch.tensor([4]), 4)
    assert padded.shift(batch, 1).flatten().tolist() == [0, 1, 2, 3]
    assert padded.shift(batch, -1).flatten().tolist() == [2, 3, 4, 0]


def test_merging_and_splitting_steps_are_inverse() -> None:
    rows = torch.randn(2, 8, 6)
    assert torch.equal(split_steps(merge_steps(rows, 4), 4), rows)


@pytest.mark.parametrize("in_flight", [0, 1, 3])
def test_packs_in_flight_are_tuning(in_flight: int) -> None:
    codec = small_codec("small_xy", 10.0)
    waves = clips(*RNG.integers(1280, 60_000, 20).tolist(), 0)
    expected = codec.encode(waves)
    before = codec.geometry, codec.packs_in_flight
    try:
        codec.geometry = Geometry(before[0].tile_rows, before[0].tile_rows)
        codec.packs_in_flight = in_flight
        got = dict(codec.encode_stream(enumerate(waves)))
    finally:
        codec.geometry, codec.packs_in_flight = before
    assert all(np.array_equal(got[i], codes) for i, codes in enumerate(expected))


def test_out_of_memory_means_fewer_packs_in_flight_and_the_same_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec = small_codec("small_xy", 10.0)
    waves = clips(*[100_000] * 24)
    expected = codec.encode(waves)
    shapes = fail_to_embed(codec, monkeypatch, calls={3, 6})
    monkeypatch.setattr(codec, "packs_in_flight", 2)
    monkeypatch.setattr(codec, "times_out_of_memory", 0)
    monkeypatch.setattr(codec, "geometry", Geometry(CPU.tile_rows, CPU.tile_rows))
    got = dict(codec.encode_stream(enumerate(waves)))
    assert all(np.array_equal(got[i], codes) for i, codes in enumerate(expected))
    assert (codec.times_out_of_memory, codec.packs_in_flight) == (2, 0)
    assert shapes[2] == shapes[3]


def test_memory_that_is_too_small_for_one_pack_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = small_codec("small_xy", 10.0)
    fail_to_embed(codec, monkeypatch, calls={1, 2})
    with pytest.raises(torch.cuda.OutOfMemoryError):
        codec.encode(clips(20_000))


def fail_to_embed(codec: NeuralCodec, monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> list:
    """Let some calls of the encoder find no memory; the shapes of all calls are returned."""
    shapes: list = []
    embed = codec.model.embed

    def short_of_memory(rows: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        shapes.append(rows.shape)
        if len(shapes) in calls:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return embed(rows, layout)

    monkeypatch.setattr(codec.model, "embed", short_of_memory)
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
    # Other row counts may differ in last bits, which flips a code only at a tie.
    assert all((a == b).mean() > 0.99 for a, b in zip(got, expected, strict=True))
