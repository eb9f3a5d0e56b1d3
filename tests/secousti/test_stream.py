"""A clip encoded as it comes gets the codes and side values of the whole clip."""

import numpy as np
import pytest

from tests.support.secousti_case import Group, codec_of
from xy_codec.errors import AudioError
from xy_codec.secousti.codec import SecoustiCodec
from xy_codec.secousti.stream import EncodeStream

RNG = np.random.default_rng(30)


@pytest.fixture(scope="module", params=["small_21", "small_86"])
def codec(request: pytest.FixtureRequest) -> SecoustiCodec:
    return codec_of(Group(request.param))


def clip(length: int) -> np.ndarray:
    return (0.1 * RNG.standard_normal(length)).astype(np.float32)


def streamed(codec: SecoustiCodec, wave: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, ...]:
    stream = EncodeStream(codec)
    parts = [stream.push(part) for part in np.split(wave, np.cumsum(sizes))]
    end = stream.finish()
    assert end.side is not None
    return np.concatenate([*parts, end.codes], axis=1), end.side


@pytest.mark.parametrize(
    "length", [0, 1, 384, 385, 639, 640, 8192, 8576, 32_768, 33_152, 76_543, 150_001]
)
def test_a_stream_gives_what_the_whole_clip_gives(codec: SecoustiCodec, length: int) -> None:
    wave = clip(length)
    ((codes, side),) = codec.encode_with_side([wave])
    assert side is not None
    for sizes in ([], [1, 383, 0, 1], RNG.integers(1, 30_000, 12).tolist()):
        kept = [size for size in sizes if size < length]
        got, got_side = streamed(codec, wave, kept)
        assert np.array_equal(got, codes)
        assert np.array_equal(got_side, side)


def test_codes_come_a_block_at_a_time_as_soon_as_they_are_certain(codec: SecoustiCodec) -> None:
    stream, block = EncodeStream(codec), 32 * codec.shape.samples_per_frame
    # The window of the block's last frame of log-mel ends 384 samples behind the block.
    assert stream.push(clip(block + 383)).shape == (1, 0)
    assert stream.push(clip(1)).shape == (1, 32)
    assert stream.push(clip(3 * block)).shape == (1, 96)


def test_a_push_longer_than_a_pack_runs_in_several(codec: SecoustiCodec) -> None:
    wave = clip(min(1100 * codec.shape.samples_per_frame, 700_000))
    (whole,) = codec.encode([wave])
    before = codec.geometry
    try:
        codec.geometry = type(before)(before.tile_steps, before.tile_steps, clip_steps=1)
        codes, _ = streamed(codec, wave, [])
    finally:
        codec.geometry = before
    assert np.array_equal(codes, whole)


def test_half_of_a_long_stream_is_kept_for_the_side_values(codec: SecoustiCodec) -> None:
    stream = EncodeStream(codec)
    for _ in range(10):
        stream.push(clip(60_000))
    assert len(stream._held) < 4 * 0.5 * 600_000 + 4 * 256 * 200


def test_a_finished_stream_takes_no_more(codec: SecoustiCodec) -> None:
    stream = EncodeStream(codec)
    stream.finish()
    with pytest.raises(AudioError, match="Samples came after `finish`"):
        stream.push(clip(10))
    with pytest.raises(AudioError, match="NaN"):
        EncodeStream(codec).push(np.full(10, np.nan, np.float32))
