"""The number of torch's threads is set for a block, and is what it was behind it."""

import pytest
import torch

from xy_codec.engine.threads import threads


def fail_with_one_thread() -> None:
    with threads(1):
        raise KeyError(torch.get_num_threads())


def test_the_number_of_threads_is_restored_even_after_an_error() -> None:
    with threads(2):
        with pytest.raises(KeyError, match="1"):
            fail_with_one_thread()
        assert torch.get_num_threads() == 2
