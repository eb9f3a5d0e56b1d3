"""Every codec holds the contract: a clip's codes are its own, lengths and ranges are as stated."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tests.support.conformance import CASES, SLOW, Case, clips_for, digest, load_case
from xy_codec.contract import Codec, Encoded
from xy_codec.engine.threads import threads
from xy_codec.errors import CodesError

# The longest clip in seconds; whole clips of foreign codecs are slow.
LONGEST, SHORT = 1.5, 0.5


QUICK = [name for name in CASES if name not in SLOW]
PARAMS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A codec of the catalogue by its name; its checkpoint is made once."""
    return cache(lambda name: CASES[name](tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module", params=PARAMS)
def case(request: pytest.FixtureRequest, case_of: Callable[[str], Case]) -> Case:
    """The source of a codec, and options to load it with."""
    return case_of(request.param)


@pytest.fixture(scope="module")
def codec(case: Case) -> Codec:
    return load_case(case)


@pytest.fixture(scope="module")
def clips(codec: Codec) -> list[np.ndarray]:
    return clips_for(codec, LONGEST)


@pytest.fixture(scope="module")
def alone(codec: Codec, clips: list[np.ndarray]) -> list[Encoded]:
    return [codec.encode_with_side([clip])[0] for clip in clips]


def same(left: list[Encoded], right: list[Encoded]) -> bool:
    return all(
        np.array_equal(a.codes, b.codes)
        and (a.side is None) == (b.side is None)
        and (a.side is None or b.side is None or np.array_equal(a.side, b.side))
        for a, b in zip(left, right, strict=True)
    )


def test_codes_do_not_depend_on_company(
    codec: Codec, clips: list[np.ndarray], alone: list[Encoded]
) -> None:
    assert same(codec.encode_with_side(clips), alone)
    order = np.random.default_rng(1).permutation(len(clips))
    shuffled = codec.encode_with_side([clips[place] for place in order])
    assert same(shuffled, [alone[place] for place in order])
    noise = [np.float32(0.3) * np.roll(clip, 7) for clip in clips if len(clip)]
    mixed = [clip for pair in zip(noise, clips[: len(noise)], strict=True) for clip in pair]
    assert same(codec.encode_with_side(mixed)[1::2], alone[: len(noise)])


def test_codes_do_not_depend_on_threads(
    codec: Codec, clips: list[np.ndarray], alone: list[Encoded]
) -> None:
    with threads(2):
        assert same(codec.encode_with_side(clips), alone)


@pytest.fixture(scope="module")
def elsewhere(case_of: Callable[[str], Case]) -> dict[str, str]:
    """The hash over each quick codec's output in another process, by the codec's source.

    One process for all, because its start takes longer than its work.
    """
    cases = [case_of(name) for name in QUICK]
    script = f"from tests.support.conformance import *\nprint(*digests({cases!r}, {SHORT}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sources = (case.source for case in cases)
    return dict(zip(sources, done.stdout.split(), strict=True))


@pytest.mark.parametrize("case", QUICK, indirect=True)
def test_codes_do_not_depend_on_the_process(
    case: Case, codec: Codec, elsewhere: dict[str, str]
) -> None:
    assert digest(codec, SHORT) == elsewhere[case.source]


def test_lengths_are_as_stated_and_codes_in_range(
    codec: Codec, clips: list[np.ndarray], alone: list[Encoded]
) -> None:
    shape = codec.shape
    hop = shape.samples_per_frame
    assert {0, 1, hop - 1, hop, hop + 1} <= {len(clip) for clip in clips}
    for clip, (codes, side) in zip(clips, alone, strict=True):
        assert codes.shape == (shape.num_codebooks, shape.num_frames(len(clip)))
        assert codes.dtype == shape.dtype
        assert (side is None) == (shape.side_floats == 0)
        for row, size in zip(codes, shape.codebook_sizes, strict=True):
            assert ((row >= 0) & (row < size)).all()


def test_decoding_twice_gives_the_same_and_the_stated_length(
    codec: Codec, alone: list[Encoded]
) -> None:
    if codec.identity.decodes == "no":
        pytest.skip("this codec has no decoder")
    chosen = [encoded for encoded in alone if encoded.codes.shape[1]][:4]
    keys = [f"clip {number}" for number in range(len(chosen))]
    first = codec.decode_encoded(chosen, keys=keys)
    again = [
        codec.decode([codes], side=[side], keys=[key])[0]
        for (codes, side), key in zip(chosen, keys, strict=True)
    ]
    for encoded, wave, other in zip(chosen, first, again, strict=True):
        assert wave.dtype == np.float32
        assert len(wave) == encoded.codes.shape[1] * codec.shape.output_samples_per_frame
        assert np.isfinite(wave).all()
        assert np.array_equal(wave, other)


def test_prefixes_decode_where_they_are_said_to(codec: Codec, alone: list[Encoded]) -> None:
    encoded = next(encoded for encoded in alone if encoded.codes.shape[1])
    first = encoded.codes[:1]
    if codec.identity.decodes == "no" or not codec.shape.prefixes_decode:
        with pytest.raises(CodesError):
            codec.decode([first], side=[encoded.side])
        return
    (whole,) = codec.decode([encoded.codes], side=[encoded.side])
    (prefix,) = codec.decode([first], side=[encoded.side])
    assert len(whole) == len(prefix)
    assert np.array_equal(whole, prefix) == (codec.shape.num_codebooks == 1)


def test_the_identity_says_what_codes_depend_on(codec: Codec) -> None:
    identity = codec.identity
    assert len(identity.checkpoint_sha256) == len(identity.config_sha256) == 64
    assert identity.to_dict()["shape"]["codebook_sizes"] == codec.shape.codebook_sizes
    assert identity == type(identity)(
        **{name: getattr(identity, name) for name in identity.__slots__}
    )


def test_embeddings_belong_to_the_codes_of_a_frame(codec: Codec, alone: list[Encoded]) -> None:
    codes = next(encoded.codes for encoded in reversed(alone) if encoded.codes.shape[1] > 2)
    found = codec.embeddings([codes, codes[:, ::-1].copy()])
    if codec.identity.name in ("fake", "fake-odd", "snac"):
        assert found is None
        return
    assert found is not None
    forwards, backwards = found
    assert forwards.dtype == np.float32
    assert len(forwards) == codes.shape[1]
    np.testing.assert_allclose(forwards, backwards[::-1], rtol=1e-5, atol=1e-6)
    other = (codes[:, :1] + 1) % np.array(codec.shape.codebook_sizes)[:, None]
    moved = codec.embeddings([other.astype(codes.dtype)])
    assert moved is not None
    assert np.abs(moved[0][0] - forwards[0]).max() > 0
