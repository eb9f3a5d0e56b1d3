"""The contract between a codec and everything that uses one; numpy only, no torch.

Shapes: a waveform is float32 `[L]`, mono, at the codec's input rate; codes are int16 `[K, T]`.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]
Codes = NDArray[np.int16]
Tag = TypeVar("Tag", bound=Hashable)


@dataclass(frozen=True, slots=True)
class CodecIdentity:
    """Everything about a codec that its codes depend on; two equal identities give equal codes."""

    name: str
    checkpoint_sha256: str
    input_rate_hz: int
    output_rate_hz: int
    samples_per_frame: int
    num_codebooks: int
    codebook_size: int
    window_seconds: float
    overlap_seconds: float
    precision: str
    pack_geometry: str
    platform: str

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.input_rate_hz / self.samples_per_frame

    def to_dict(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        return asdict(self)


@runtime_checkable
class Codec(Protocol):
    """A frozen codec: the same codes for the same clip whatever else is encoded beside it."""

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        ...

    def encode(self, waveforms: Sequence[Waveform]) -> list[Codes]:
        """Turn each waveform of L samples into codes `[K, L // samples_per_frame]`."""
        ...

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Codes]]:
        """Encode an endless stream of tagged clips; results come as packs fill, in any order."""
        ...

    def decode(self, codes: Sequence[Codes]) -> list[Waveform]:
        """Turn each `[K', T]` (the first K' <= K codebooks) into a waveform at the output rate."""
        ...
