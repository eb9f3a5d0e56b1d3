"""The released sizes with random weights: 520 million parameters made from a seed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import Codec
from xy_codec.engine.packed_codec import NeuralCodec
from xy_codec.loading import assemble
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.released import released_config

# The vocoder head's rows tell the variant: the one at 16 kHz.
_HEAD_ROWS = 642


def full_size(precision: str, device: str, compiled: bool = False) -> NeuralCodec:
    config = released_config(_HEAD_ROWS)
    torch.manual_seed(0)
    state = XYTokenizer(config).state_dict()
    for key in state:
        if key.endswith(".codebook"):
            state[key].normal_(0, 0.2)
    checkpoint = Checkpoint(Path("random"), state, {}, "0" * 64)
    return assemble(config, checkpoint, precision, device, compiled=compiled)


@dataclass(frozen=True, slots=True)
class FullSizeRequest(CodecRequest):
    """Makes the same codec in every worker."""

    def load(self) -> Codec:
        return full_size("exact", "cpu")
