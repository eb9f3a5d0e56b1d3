"""A flip rate that cannot be measured is a warning and never the end of a run."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from tests.support.shard_maker import pairs, write_shard
from xy_codec.contract import Codes, Waveform
from xy_codec.fake import FakeCodec

FAKE = CodecRequest("fake")


class TooBigCodec(FakeCodec):
    """Needs more memory than there is."""

    def encode(self, waveforms: Sequence[Waveform], *, rate_hz: int | None = None) -> list[Codes]:
        """Fail as CUDA does."""
        raise torch.cuda.OutOfMemoryError("out of memory")


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    write_shard(tmp_path / "a.tar", pairs(2))
    (shard,) = list_shards([str(tmp_path)], Storage())
    return shard


def test_no_memory_for_a_second_codec_leaves_the_rate_unknown(
    shard: Shard, caplog: pytest.LogCaptureFixture
) -> None:
    assert measure_flip_rate(FakeCodec(), FAKE, shard, Storage(), ReadRules()) is not None
    assert measure_flip_rate(TooBigCodec(), FAKE, shard, Storage(), ReadRules()) is None
    assert "no memory" in caplog.text
