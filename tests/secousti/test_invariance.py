"""A clip's codes, side values and waveform are its own: the same bits alone and in any company."""

import numpy as np
import pytest
import torch

from tests.support.secousti_case import Group, codec_of
from xy_codec.contract import Encoded
from xy_codec.engine.threads import threads
from xy_codec.errors import CodesError
from xy_codec.secousti.codec import SecoustiCodec

RNG = np.random.default_rng(20)
# The shortest clips, every remainder in a token of 1024 samples, and each rule for the middle.
LENGTHS = [0, 1, 384, 385, 511, 512, 1023, 1024, 1025, 1279, 1281, *RNG.integers(385, 40_000, 5)]
LENGTHS += [25_700, 40_000, 76_543, 77_000, 100_000]


def clip(length: int) -> np.ndarray:
    return (RNG.standard_normal(length) * RNG.uniform(0.01, 0.3)).astype(np.float32)


CLIPS = [clip(int(length)) for length in LENGTHS]


@pytest.fixture(scope="module", params=["small_21", "small_86"])
def codec(request: pytest.FixtureRequest) -> SecoustiCodec:
    return codec_of(Group(request.param))


@pytest.fixture(scope="module")
def alone(codec: SecoustiCodec) -> list[Encoded]:
    return [codec.encode_with_side([wave])[0] for wave in CLIPS]


def same(left: Encoded, right: Encoded) -> bool:
    assert left.side is not None
    assert right.side is not None
    return np.array_equal(left.codes, right.codes) and np.array_equal(left.side, right.side)


def test_random_batches_give_the_codes_and_side_values_of_clips_alone(
    codec: SecoustiCodec, alone: list[Encoded]
) -> None:
    rng = np.random.default_rng(21)
    for _ in range(5):
        chosen = rng.integers(0, len(CLIPS), rng.integers(2, 20))
        encoded = codec.encode_with_side([CLIPS[i] for i in chosen])
        assert all(same(got, alone[i]) for i, got in zip(chosen, encoded, strict=True))


def test_a_clip_may_start_anywhere_in_a_tile(codec: SecoustiCodec, alone: list[Encoded]) -> None:
    hop = codec.shape.samples_per_frame
    for steps in (1, 2, 7, 64, 485, 510, 511, 512):
        filler = clip(max(steps * hop, 385))
        assert same(codec.encode_with_side([filler, CLIPS[11]])[1], alone[11]), steps


def test_two_threads_give_what_one_gives(codec: SecoustiCodec, alone: list[Encoded]) -> None:
    with threads(2):
        encoded = codec.encode_with_side(CLIPS)
    assert all(same(a, b) for a, b in zip(encoded, alone, strict=True))


def test_what_is_not_finite_stays_in_its_clip(codec: SecoustiCodec, alone: list[Encoded]) -> None:
    loud = np.full(5000, 3e38, np.float32)
    found = codec.encode_with_side([loud, CLIPS[11], loud, CLIPS[3]])
    assert found[0].side is not None
    assert not np.isfinite(found[0].side).all()
    assert same(found[1], alone[11])
    assert same(found[3], alone[3])


def test_lengths_are_those_of_the_shape_and_short_clips_have_none(
    codec: SecoustiCodec, alone: list[Encoded]
) -> None:
    frames_a_token = codec.model.config.token_frames
    for wave, encoded in zip(CLIPS, alone, strict=True):
        frames = len(wave) // 256 if len(wave) >= 385 else 0
        assert encoded.codes.shape == (1, -(-frames // frames_a_token))
        assert encoded.codes.dtype == np.int16
        assert encoded.side is not None
        assert encoded.side.shape == (64,)
        assert encoded.side.any() == (len(wave) >= 385)


def test_a_clip_of_several_packs_keeps_its_bits(codec: SecoustiCodec) -> None:
    wave = clip(1100 * codec.shape.samples_per_frame)[:1_000_000]
    (whole,) = codec.encode_with_side([wave])
    before = codec.geometry
    try:
        codec.geometry = type(before)(before.tile_steps, before.tile_steps, clip_steps=1)
        assert codec.shape.num_frames(len(wave)) > 512
        (cut,) = codec.encode_with_side([wave])
    finally:
        codec.geometry = before
    assert same(cut, whole)


def test_waveforms_depend_on_codes_side_values_and_key_alone(
    codec: SecoustiCodec, alone: list[Encoded]
) -> None:
    chosen = [alone[i] for i in (3, 8, 12)]
    codes, sides = [each.codes for each in chosen], [each.side for each in chosen]
    keys = ["a", None, "b"]
    singly = [
        codec.decode([matrix], side=[side], keys=[key])[0]
        for matrix, side, key in zip(codes, sides, keys, strict=True)
    ]
    # With as many threads: convolutions on CPUs without AVX-512 round by their number.
    backwards = codec.decode(codes[::-1], side=sides[::-1], keys=keys[::-1])[::-1]
    for wave, other, matrix in zip(singly, backwards, codes, strict=True):
        assert np.array_equal(wave, other)
        assert len(wave) == matrix.shape[1] * codec.shape.output_samples_per_frame


def test_noise_is_a_function_of_the_key(codec: SecoustiCodec, alone: list[Encoded]) -> None:
    codes, side = alone[8]
    none, again, one, other = codec.decode(
        [codes] * 4, side=[side] * 4, keys=[None, None, "a", "b"]
    )
    assert np.array_equal(none, again)
    assert not np.array_equal(none, one)
    assert not np.array_equal(one, other)


def test_the_vector_of_the_side_values_decodes_like_them(
    codec: SecoustiCodec, alone: list[Encoded]
) -> None:
    codes, side = alone[8]
    assert side is not None
    vector = codec.model.paralinguistic_encoder.to_vector(torch.from_numpy(side)).numpy()
    by_state, by_vector = codec.decode([codes, codes], side=[side, vector])
    assert np.array_equal(by_state, by_vector)
    with pytest.raises(CodesError, match=r"Codes 0 came without side values"):
        codec.decode([codes])
    with pytest.raises(CodesError, match=r"64 or 128 finite values"):
        codec.decode([codes], side=[side[:63]])
