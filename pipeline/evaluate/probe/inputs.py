"""What the probe reads of a clip: a codec's own embeddings, or codes for tables that it learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluate.probe.clips import SpokenClip
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec, Embeddings

# Clips from which the mean and the spread of each embedding's values are taken.
_CLIPS_FOR_SCALE = 200


@dataclass(frozen=True, slots=True)
class ProbeInput:
    """How the steps of clips become what the recurrent layers read.

    Attributes:
        name: what it is, for tables.
        rate_hz: steps a second.
        embed: steps of a clip to frozen values `[T, D]`; None where tables are learned.
        table_sizes: entries of each codebook, where tables are learned.
    """

    name: str
    rate_hz: float
    embed: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None
    table_sizes: tuple[int, ...] = ()

    def repeats(self, lowest_rate_hz: float) -> int:
        """How often each step is taken, to have so many a second."""
        return ceil(lowest_rate_hz / self.rate_hz)

    def batch(self, clips: Sequence[SpokenClip]) -> Tensor:
        """Frozen values `[B, T, D]`, or codes `[B, T, K]`, filled up with zeros."""
        sides = [self._steps(clip) for clip in clips]
        longest = max(len(each) for each in sides)
        whole = np.zeros((len(sides), longest, sides[0].shape[1]), sides[0].dtype)
        for place, each in enumerate(sides):
            whole[place, : len(each)] = each
        return torch.from_numpy(whole)

    def _steps(self, clip: SpokenClip) -> NDArray[Any]:
        if self.embed is None:
            return clip.steps.T.astype(np.int64)
        return self.embed(clip.steps)

    def scale(self, clips: Sequence[SpokenClip]) -> tuple[Tensor, Tensor]:
        """The mean and the spread of each frozen value over some clips."""
        values = np.concatenate([self._steps(clip) for clip in clips[:_CLIPS_FOR_SCALE]])
        mean, spread = values.mean(axis=0), values.std(axis=0)
        # A value that never changes says nothing; it stays zero.
        return torch.from_numpy(mean), torch.from_numpy(np.where(spread > 1e-6, spread, np.inf))


def codec_input(codec: Codec) -> ProbeInput:
    """The codec's own embeddings, or tables where it has no lookup."""
    shape = codec.shape
    if codec.embeddings([np.zeros((shape.num_codebooks, 1), shape.dtype)]) is None:
        return table_input(shape)

    def embed(codes: NDArray[Any]) -> NDArray[np.float32]:
        # A codec has a lookup for all of its codes or for none.
        return cast(list[Embeddings], codec.embeddings([codes]))[0]

    return ProbeInput("its embeddings", shape.frame_rate_hz, embed)


def table_input(shape: CodesShape) -> ProbeInput:
    """Codes, for which the probe learns a table of each codebook."""
    return ProbeInput("learned tables", shape.frame_rate_hz, table_sizes=shape.codebook_sizes)
