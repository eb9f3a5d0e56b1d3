"""SecoustiCodec gives what its reference gives, for weights that anyone can regenerate."""

import numpy as np
import pytest

from tests.support.golden_case import WITHOUT_GOLDEN, inputs
from tests.support.secousti_case import (
    BUNDLED,
    Differences,
    Group,
    codec_of,
    compare_decoding,
    compare_encoding,
    compare_vocoding,
    complete,
    vocoder_mel,
    wave_of,
)
from xy_codec.audio import mono, resample
from xy_codec.secousti.mel import LogMel

SMALL = ("small_21", "small_86")


def cases(kind: str, groups: list[Group]) -> list[tuple[Group, str]]:
    return [(group, case) for group in groups for case in group.cases(kind)]


def names(cases: list[tuple[Group, str]]) -> list[str]:
    return [f"{group.name}-{case}" for group, case in cases]


OURS = [Group(name) for name in SMALL]
ENCODE, DECODE, VOCODE = (cases(kind, OURS) for kind in ("cases", "decode_cases", "vocoder_cases"))
ALL = cases("cases", [complete(name) for name in SMALL])


def assert_close(found: Differences) -> None:
    assert (found.wrong, found.ties, found.too_large()) == (0, [], {})


@pytest.mark.parametrize(("group", "case"), ENCODE, ids=names(ENCODE))
def test_every_stage_of_encoding_is_the_reference_s(group: Group, case: str) -> None:
    found = Differences()
    compare_encoding(group, case, found)
    assert found.tokens == group.info["cases"][case]["tokens"]
    assert_close(found)


@pytest.mark.parametrize(("group", "case"), DECODE, ids=names(DECODE))
def test_every_stage_of_decoding_is_the_reference_s(group: Group, case: str) -> None:
    found = Differences()
    compare_decoding(group, case, found)
    assert_close(found)


@pytest.mark.parametrize(("group", "case"), VOCODE, ids=names(VOCODE))
def test_the_vocoder_alone_is_the_reference_s(group: Group, case: str) -> None:
    found = Differences()
    compare_vocoding(group, case, vocoder_mel(group, case), found)
    assert_close(found)


@pytest.mark.parametrize(("group", "case"), ALL, ids=names(ALL))
def test_every_recorded_clip_gets_its_tokens_and_state(group: Group, case: str) -> None:
    found, expected = Differences(), group.recorded(case)
    ((codes, side),) = codec_of(group).encode_with_side([wave_of(group.info["cases"][case])])
    found.add_tokens(case, expected, codes)
    assert side is not None
    assert_close(found)
    np.testing.assert_allclose(side, expected["gru"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_stage_of_every_recorded_case_is_the_reference_s(name: str) -> None:
    group, found = complete(name), Differences()
    for case in group.cases("cases"):
        compare_encoding(group, case, found)
        compare_decoding(group, case, found)
    for case in group.cases("decode_cases"):
        compare_decoding(group, case, found)
    for case in group.cases("vocoder_cases"):
        compare_vocoding(group, case, vocoder_mel(group, case), found)
    assert_close(found)


def test_mel_filters_are_the_reference_s() -> None:
    with np.load(BUNDLED / "frontend.npz") as recorded:
        filters = LogMel(codec_of(OURS[0]).model.config).filters.numpy()
        np.testing.assert_allclose(filters, recorded["melbank"], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("rate_hz", "num_samples", "speakers"),
    [(24000, 6001, 1), (32000, 5000, 1), (48000, 9600, 1), (44100, 8821, 2)],
)
def test_resampled_speech_is_near_the_reference_s(
    rate_hz: int, num_samples: int, speakers: int
) -> None:
    # The reference makes the kernel of its resampler in float64 and ours in float32.
    if complete("small_21").folder == BUNDLED:
        pytest.skip(WITHOUT_GOLDEN)
    voices = [f"speech{number}" for number in range(speakers)]
    channels = [
        voice[20000:] for voice in inputs({"inputs": [(v, 20000 + num_samples) for v in voices]})
    ]
    resampled = resample(mono(np.stack(channels, axis=1)), rate_hz, 22050)
    with np.load(BUNDLED / "frontend.npz") as recorded:
        expected = recorded[f"resample/{rate_hz}_{speakers}ch"]
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-5)
