"""The released sizes with random weights: 520 million parameters made from a seed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import Codec
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.released import released_config

# The length of the vocoder head's bias tells the variant: the one at 16 kHz.
_HEAD_SIZE = 642


def random_full_size() -> tuple[CodecConfig, Checkpoint]:
    """The released sizes and weights for them, from a seed."""
    config = released_config(_HEAD_SIZE)
    torch.manual_seed(0)
    state = XYTokenizer(config).state_dict()
    for key in state:
        if key.endswith(".codebook"):
            state[key].normal_(0, 0.2)
    return config, Checkpoint(Path("random"), state, {}, "0" * 64)


def full_size(precision: str, device: str, compiled: bool = False) -> PackedCodec:
    """The codec of those weights."""
    return assemble(*random_full_size(), precision, device, compiled=compiled)


@dataclass(frozen=True, slots=True)
class FullSizeRequest(CodecRequest):
    """Makes the same codec in every worker."""

    def check(self, *, may_be_elsewhere: bool = False) -> None:
        """Take any source: it is not the name of a codec."""

    def load(self) -> Codec:
        return full_size("exact", "cpu")
