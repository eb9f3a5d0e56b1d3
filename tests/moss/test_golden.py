"""The plain model gives what the reference gives, for weights anyone can regenerate."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.support.golden_case import inputs
from tests.support.moss_case import Group, recorded_depths, wave_error, wrong_codes
from xy_codec.moss.model import MossAudioTokenizer

GROUPS = [Group("small3"), Group("small4"), Group("small4w")]
ENCODE = [(group, case) for group in GROUPS for case in group.cases("cases")]
DECODE = [(group, case) for group in GROUPS for case in group.cases("decode_cases")]


@lru_cache
def model_of(group: Group) -> MossAudioTokenizer:
    return group.model()


def names(cases: list[tuple[Group, str]]) -> list[str]:
    return [f"{group.name}-{case}" for group, case in cases]


@torch.inference_mode()
def decode(model: MossAudioTokenizer, codes: np.ndarray) -> np.ndarray:
    return model.decode(torch.from_numpy(codes)[None])[0].numpy()


@torch.inference_mode()
@pytest.mark.parametrize(("group", "case"), ENCODE, ids=names(ENCODE))
def test_small_models_give_the_recorded_codes_and_waveforms(group: Group, case: str) -> None:
    model, expected = model_of(group), group.recorded(case)
    (wave,) = inputs(group.info["cases"][case])
    codes = model.encode(torch.from_numpy(wave)[None])[0].numpy()
    assert wrong_codes(expected, codes) == (0, 0)
    for depth in recorded_depths(expected):
        prefix = codes[: int(depth)] if depth else codes
        assert wave_error(expected, decode(model, prefix), depth) < 5e-5


@pytest.mark.parametrize(("group", "case"), DECODE, ids=names(DECODE))
def test_small_models_decode_the_recorded_codes(group: Group, case: str) -> None:
    expected = group.recorded(case)
    for depth in recorded_depths(expected):
        codes = expected["codes"].astype(np.int64)
        prefix = codes[: int(depth)] if depth else codes
        assert wave_error(expected, decode(model_of(group), prefix), depth) < 5e-5
