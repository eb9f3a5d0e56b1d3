"""What a user would pick instead: Mimi, DAC and EnCodec as `transformers` runs them.

The architectures of the released checkpoints with random weights; speed does not depend on values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xy_codec.torchaudio_import import import_torchaudio

import_torchaudio()  # `transformers` imports torchaudio, which cannot load beside a CPU torch

from transformers import (  # noqa: E402  # only after torchaudio is there
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    MimiConfig,
    MimiModel,
)

Clips = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class OtherCodec:
    """One codec, the rate it wants, and its settings as they are usually run."""

    name: str
    rate_hz: int
    settings: str
    encode: Callable[[torch.Tensor], object]

    def loop(self, clips: Clips) -> None:
        """File by file, batch 1, as most scripts do."""
        with torch.inference_mode():
            for clip in clips:
                self.encode(torch.from_numpy(clip)[None, None])

    def padded(self, clips: Clips, batch_size: int = 8) -> None:
        """Batches in the order of the corpus, padded to the longest of each."""
        with torch.inference_mode():
            for start in range(0, len(clips), batch_size):
                batch = clips[start : start + batch_size]
                padded = torch.zeros(len(batch), 1, max(map(len, batch)))
                for row, clip in enumerate(batch):
                    padded[row, 0, : len(clip)] = torch.from_numpy(clip)
                self.encode(padded)


def other_codecs(names: Sequence[str] = ("mimi", "dac", "encodec")) -> list[OtherCodec]:
    """The codecs with 8 codebooks where they have a choice, which is cheapest for them."""
    makers = {"mimi": _mimi, "dac": _dac, "encodec": _encodec}
    return [makers[name]() for name in names]


def _mimi() -> OtherCodec:
    model = _frozen(MimiModel(MimiConfig()))
    return OtherCodec(
        "Mimi", 24_000, "8 codebooks, 12.5 Hz", lambda x: model.encode(x, num_quantizers=8)
    )


def _dac() -> OtherCodec:
    model = _frozen(DacModel(DacConfig(n_codebooks=12, downsampling_ratios=[2, 4, 5, 8])))
    return OtherCodec(
        "DAC", 16_000, "8 of 12 codebooks, 50 Hz", lambda x: model.encode(x, n_quantizers=8)
    )


def _encodec() -> OtherCodec:
    model = _frozen(EncodecModel(EncodecConfig()))
    return OtherCodec(
        "EnCodec", 24_000, "8 codebooks, 75 Hz", lambda x: model.encode(x, bandwidth=6.0)
    )


def _frozen(model: Any) -> Any:
    return model.eval().requires_grad_(False)
