"""The codec gives what the reference gives, for weights anyone can regenerate."""

import numpy as np
import pytest

from tests.support.golden_case import inputs
from tests.support.moss_case import Group, recorded_depths, small_codec, wave_error, wrong_codes

GROUPS = [Group("small3"), Group("small4"), Group("small4w")]
ENCODE = [(group, case) for group in GROUPS for case in group.cases("cases")]
ALL = [*ENCODE, *((group, case) for group in GROUPS for case in group.cases("decode_cases"))]


def names(cases: list[tuple[Group, str]]) -> list[str]:
    return [f"{group.name}-{case}" for group, case in cases]


@pytest.mark.parametrize(("group", "case"), ENCODE, ids=names(ENCODE))
def test_small_models_give_the_recorded_codes(group: Group, case: str) -> None:
    expected = group.recorded(case)
    wrong, ties = wrong_codes(expected, *small_codec(group.name).encode(inputs(group.input(case))))
    print(f"{group.name} {case}: {ties} ties")
    assert wrong == 0


@pytest.mark.parametrize(("group", "case"), ALL, ids=names(ALL))
def test_small_models_give_the_recorded_waveforms_of_all_and_of_the_first_codebooks(
    group: Group, case: str
) -> None:
    expected = group.recorded(case)
    codes = expected["codes"].astype(np.int16)
    depths = recorded_depths(expected)
    waves = small_codec(group.name).decode([codes[: depth or None] for depth in depths])
    errors = [wave_error(expected, wave, depth) for depth, wave in zip(depths, waves, strict=True)]
    assert max(errors, default=0.0) < 5e-5
