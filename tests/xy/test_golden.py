"""The codec gives what the reference implementation gives, for weights anyone can regenerate."""

import pytest

from tests.support.golden_case import (
    Group,
    compare_codes,
    inputs,
    recorded,
    small_codec,
    wave_error,
)
from xy_codec.errors import ConfigError

SMALL = [Group("small_xy"), Group("small_ttsd32")]
ENCODE = [(group, case) for group in SMALL for case in group.cases("cases")]
DECODE = [(group, case) for group in SMALL for case in group.cases("decode_cases")]


def names(cases: list[tuple[Group, str]]) -> list[str]:
    return [f"{group.name}-{case}" for group, case in cases]


@pytest.mark.parametrize(("group", "case"), ENCODE, ids=names(ENCODE))
def test_small_models_give_the_recorded_codes_and_waveforms(group: Group, case: str) -> None:
    info, expected = group.info["cases"][case], recorded(group, case)
    overlap = info["overlap_seconds"]
    if case.endswith("_ov7"):
        with pytest.raises(ConfigError, match=r"multiple of 0\.08 s.*6\.96 or 7\.04"):
            small_codec(group.name, overlap)
        return
    codec = small_codec(group.name, overlap)
    codes = codec.encode(inputs(info))
    clear, ties = compare_codes(expected, codes)
    print(f"{group.name} {case}: {ties} ties")
    assert (clear, ties) == (0, 0)
    assert wave_error(codec, expected, codec.decode(codes), overlap) < 1e-4


@pytest.mark.parametrize(("group", "case"), DECODE, ids=names(DECODE))
def test_small_models_decode_the_recorded_codes(group: Group, case: str) -> None:
    info, expected = group.info["decode_cases"][case], recorded(group, case)
    overlap = info["overlap_seconds"]
    codec = small_codec(group.name, overlap)
    codes = [expected[f"codes/{i}"].astype("int16") for i in range(len(info["codes"]))]
    assert wave_error(codec, expected, codec.decode(codes), overlap) < 1e-4
