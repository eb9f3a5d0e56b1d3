"""What a speaker model gives: a unit vector for a waveform, and how two of them compare."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xy_codec.contract import Waveform

Embedding = NDArray[np.float32]


class SpeakerModel(Protocol):
    """Turns 16 kHz waveforms into unit vectors."""

    @property
    def name(self) -> str:
        """The name every SIM made with this model carries."""
        ...

    def embed(self, waveform: Waveform) -> Embedding:
        """The unit vector of one waveform."""
        ...


def cosine(left: Embedding, right: Embedding) -> float:
    """Cosine of two unit vectors, kept within [-1, 1]."""
    return float(np.clip(np.dot(left.astype(np.float64), right.astype(np.float64)), -1.0, 1.0))


def unit(vector: NDArray[np.float32]) -> Embedding:
    """The vector at length one."""
    return np.asarray(vector / np.linalg.norm(vector.astype(np.float64)), dtype=np.float32)
