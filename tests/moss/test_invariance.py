"""A clip's codes and waveform are its own: the same bits alone, in any company, however cut."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.support.moss_case import small_codec
from xy_codec.engine.causal import BLOCK_FRAMES
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.threads import threads
from xy_codec.moss.codec import MossCodec

HOP = 1920
RNG = np.random.default_rng(31)
# Edges of a frame, of a block, of the window of 16 frames, and lengths between them.
FRAMES = [0, 0, 1, 2, 16, 17, 31, 32, 33, 64, 150]
LENGTHS = [HOP * frames + int(RNG.integers(0, HOP)) for frames in FRAMES]


def clip(length: int) -> np.ndarray:
    return (RNG.standard_normal(length) * RNG.uniform(0.01, 0.3)).astype(np.float32)


CLIPS = [clip(length) for length in LENGTHS]
Made = list[tuple[np.ndarray, np.ndarray]]


@contextmanager
def packs_of(codec: MossCodec, frames: int) -> Iterator[None]:
    """Packs, and with them the segments of long clips, of so many frames."""
    before = codec.geometry
    codec.geometry = Geometry(before.tile_steps, frames, clip_steps=1)
    try:
        yield
    finally:
        codec.geometry = before


@pytest.fixture(scope="module")
def codec() -> MossCodec:
    return small_codec("small4w")


def make(codec: MossCodec, clips: list[np.ndarray]) -> Made:
    codes = codec.encode(clips)
    return list(zip(codes, codec.decode(codes), strict=True))


def equal(made: Made, wanted: Made) -> bool:
    return all(
        np.array_equal(codes, other) and np.array_equal(wave, heard)
        for (codes, wave), (other, heard) in zip(made, wanted, strict=True)
    )


@pytest.fixture(scope="module")
def alone(codec: MossCodec) -> Made:
    return [made for wave in CLIPS for made in make(codec, [wave])]


def test_random_batches_give_the_bits_of_clips_alone(codec: MossCodec, alone: Made) -> None:
    rng = np.random.default_rng(32)
    for _ in range(5):
        chosen = rng.integers(0, len(CLIPS), rng.integers(2, 13))
        assert equal(make(codec, [CLIPS[i] for i in chosen]), [alone[i] for i in chosen])


def test_a_clip_may_start_at_every_frame_of_a_block(codec: MossCodec, alone: Made) -> None:
    wanted = FRAMES.index(17)
    starts, at = set(), 0
    clips = []
    for frames in range(1, 2 * BLOCK_FRAMES + 1):
        starts.add((at + frames) % BLOCK_FRAMES)
        at += frames + 17
        clips += [clip(frames * HOP), CLIPS[wanted]]
    assert starts == set(range(BLOCK_FRAMES))
    assert equal(make(codec, clips)[1::2], [alone[wanted]] * (len(clips) // 2))


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_of_threads_changes_nothing(codec: MossCodec, alone: Made, count: int) -> None:
    with threads(count):
        assert equal(make(codec, CLIPS), alone)


def test_streams_give_what_lists_give(codec: MossCodec, alone: Made) -> None:
    streamed = dict(codec.encode_stream((f"clip {i}", wave) for i, wave in enumerate(CLIPS)))
    assert len(streamed) == len(CLIPS)
    assert all(np.array_equal(streamed[f"clip {i}"].codes, alone[i][0]) for i in range(len(CLIPS)))


@pytest.mark.parametrize("frames", [BLOCK_FRAMES, 512])
def test_the_size_of_packs_and_segments_changes_nothing(
    codec: MossCodec, alone: Made, frames: int
) -> None:
    with packs_of(codec, frames):
        assert equal(make(codec, CLIPS[-5:]), alone[-5:])
    assert str(codec.geometry.tile_steps) in codec.identity.pack_geometry
    assert str(codec.geometry.pack_steps) not in codec.identity.pack_geometry


def test_a_long_clip_through_its_memory_equals_the_same_clip_in_one_pack(codec: MossCodec) -> None:
    frames = 2 * 384 + 70
    wave = clip(frames * HOP)
    before = codec.counters.packs_run
    ((whole, heard),) = make(codec, [wave])
    assert codec.counters.packs_run == before + 1
    assert whole.shape == (32, frames)
    with packs_of(codec, 384):
        ((codes, sound),) = make(codec, [wave])
    assert codec.counters.packs_run == before + 4
    assert np.array_equal(codes, whole)
    assert np.array_equal(sound, heard)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(codec: MossCodec) -> None:
    minute = clip(60 * 24000)
    codec.encode([np.tile(minute, 4)])
    long = np.tile(minute, 30)
    before = peak_bytes()
    assert codec.encode([long])[0].shape == (32, 22_500)
    assert peak_bytes() - before < long.nbytes / 2
