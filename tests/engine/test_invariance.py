"""A clip's codes and waveform are its own: the same bits alone, in any company, at any place."""

import numpy as np
import pytest

from tests.support.golden_case import small_codec
from xy_codec.engine.threads import threads
from xy_codec.xy.packed_codec import PackedCodec

RNG = np.random.default_rng(20)
# Every remainder a clip can leave in a frame, a token and a mel hop, and some that need windows.
LENGTHS = [*RNG.integers(1280, 40_000, 36).tolist(), 0, 1, 1280, 1281, 100_000, 330_000]
NUM_BATCHES = 40


def clip(length: int) -> np.ndarray:
    return (RNG.standard_normal(length) * RNG.uniform(0.01, 0.3)).astype(np.float32)


CLIPS = [clip(length) for length in LENGTHS]


@pytest.fixture(scope="module")
def codec() -> PackedCodec:
    return small_codec("small_xy", 10.0)


@pytest.fixture(scope="module")
def alone(codec: PackedCodec) -> list[tuple[np.ndarray, np.ndarray]]:
    codes = [codec.encode([wave])[0] for wave in CLIPS]
    return [(matrix, codec.decode([matrix])[0]) for matrix in codes]


def test_random_batches_give_the_codes_of_clips_alone(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    rng = np.random.default_rng(21)
    for _ in range(NUM_BATCHES):
        chosen = rng.integers(0, len(CLIPS), rng.integers(1, 33))
        for i, codes in zip(chosen, codec.encode([CLIPS[i] for i in chosen]), strict=True):
            assert np.array_equal(codes, alone[i][0])


def test_random_batches_give_the_waveforms_of_clips_alone(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    rng = np.random.default_rng(22)
    for _ in range(NUM_BATCHES // 4):
        chosen = rng.integers(0, len(CLIPS), rng.integers(1, 17))
        for i, wave in zip(chosen, codec.decode([alone[i][0] for i in chosen]), strict=True):
            assert np.array_equal(wave, alone[i][1])


def test_a_clip_may_start_at_every_frame_of_a_tile(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    own = codec.geometry.steps_of(codec.encoder.mel.num_frames(len(CLIPS[0])) // 2)
    starts = set()
    for shift in range(8, own + 8, 4):
        # The filler owns just as many steps; after it, copies of the clip follow each other.
        copies = [CLIPS[0]] * (codec.geometry.tile_steps // own + 1)
        _, *after = codec.encode([clip(shift * 320 - 640), *copies])
        for number, codes in enumerate(after):
            starts.add(shift + number * own)
            assert np.array_equal(codes, alone[0][0]), f"starting at step {shift + number * own}"
    assert starts >= set(range(8, codec.geometry.tile_steps + 8, 4))


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_of_threads_changes_nothing(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]], count: int
) -> None:
    with threads(count):
        codes = codec.encode(CLIPS)
        waves = codec.decode(codes)
    assert all(np.array_equal(a, b) for a, (b, _) in zip(codes, alone, strict=True))
    assert all(np.array_equal(a, b) for a, (_, b) in zip(waves, alone, strict=True))


def test_streams_give_what_lists_give(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    streamed = dict(codec.encode_stream((f"clip {i}", wave) for i, wave in enumerate(CLIPS)))
    assert len(streamed) == len(CLIPS)
    assert all(np.array_equal(streamed[f"clip {i}"].codes, alone[i][0]) for i in range(len(CLIPS)))


def test_pack_size_is_tuning_and_tile_size_is_identity(
    codec: PackedCodec, alone: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    before = codec.geometry
    try:
        codec.geometry = type(before)(before.tile_steps, before.tile_steps)
        codes = codec.encode(CLIPS)
    finally:
        codec.geometry = before
    assert all(np.array_equal(a, b) for a, (b, _) in zip(codes, alone, strict=True))
    assert str(before.tile_steps) in codec.identity.pack_geometry
    assert str(before.pack_steps) not in codec.identity.pack_geometry
