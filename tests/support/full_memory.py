"""A device whose memory is full at each second pack of a codec."""

import itertools
from typing import Any

import pytest
import torch

from xy_codec.engine.pack_stream import PackStream


def fill_memory_each_second_time(
    codec: PackStream[Any], monkeypatch: pytest.MonkeyPatch
) -> "itertools.count[int]":
    """The first pack, the third and so on run out of memory; gives how many there were."""
    bring, attempts = codec._bring, itertools.count()

    def fail_each_second_time(jobs: Any, result: torch.Tensor) -> Any:
        if next(attempts) % 2 == 0:
            raise torch.cuda.OutOfMemoryError
        return bring(jobs, result)

    monkeypatch.setattr(codec, "_bring", fail_each_second_time)
    return attempts
