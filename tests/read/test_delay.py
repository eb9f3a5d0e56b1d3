"""Delayed codes are those of the trainers: the golden arrays of their own functions."""

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.read.delay import Delay, delay_codes
from pipeline.read.torch_dataset import pad_codes

# c[k][t] = 100 k + 7 t
CODES = torch.tensor([[100 * k + 7 * t for t in range(3)] for k in range(8)], dtype=torch.int16)
MOSS = """
   0 1024 1024 1024 1024 1024 1024 1024
   7  100 1024 1024 1024 1024 1024 1024
  14  107  200 1024 1024 1024 1024 1024
1024  114  207  300 1024 1024 1024 1024
1024 1024  214  307  400 1024 1024 1024
1024 1024 1024  314  407  500 1024 1024
1024 1024 1024 1024  414  507  600 1024
1024 1024 1024 1024 1024  514  607  700
1024 1024 1024 1024 1024 1024  614  707
1024 1024 1024 1024 1024 1024 1024  714
"""


def test_moss_is_the_recorded_array() -> None:
    golden = [[int(each) for each in line.split()] for line in MOSS.strip().splitlines()]
    assert delay_codes(CODES, "moss", 1024).T.tolist() == golden


def test_musicgen_begins_with_a_column_of_gaps() -> None:
    delayed = delay_codes(CODES, "musicgen", 1024)
    assert delayed.shape == (8, 11)
    assert delayed[0].tolist() == [1024, 0, 7, 14] + [1024] * 7
    assert delayed[1].tolist() == [1024, 1024, 100, 107, 114] + [1024] * 6


def test_higgs_has_ids_of_its_own_for_begin_and_end() -> None:
    delayed = delay_codes(CODES, "higgs", 1024)
    assert delayed.shape == (8, 12)
    assert delayed[0].tolist() == [1024, 0, 7, 14] + [1025] * 8
    assert delayed[1].tolist() == [1024, 1024, 100, 107, 114] + [1025] * 7
    assert delayed[7].tolist() == [1024] * 8 + [700, 707, 714, 1025]


def test_delays_of_ones_own_and_none() -> None:
    delayed = delay_codes(CODES[:3], [0, 1, 1], 9)
    assert delayed.tolist() == [[0, 7, 14, 9], [9, 100, 107, 114], [9, 200, 207, 214]]
    assert delay_codes(CODES, None, 9) is CODES


@pytest.mark.parametrize("delay", ["mosss", [0, 1], [-1] * 8])
def test_other_patterns_are_refused(delay: Delay) -> None:
    with pytest.raises(UsageError, match="delay="):
        delay_codes(CODES, delay, 1024)


def test_padding_says_how_long_each_clip_is() -> None:
    batch = pad_codes([CODES[:, :2], CODES], fill=7)
    assert batch["num_frames"].tolist() == [2, 3]
    assert batch["codes"].shape == (2, 8, 3)
    assert batch["codes"][0, :, 2].tolist() == [7] * 8
