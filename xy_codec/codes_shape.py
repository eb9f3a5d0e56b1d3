"""What everybody who reads codes must know of their codec: rates, codebooks, type and lengths.

It stands in the identity in `run.json`. Readers, checks and exporters take it from there and never
from a constant. numpy only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

# What an int16 can hold: 0 to 32,767.
_MOST_INT16_ENTRIES = 1 << 15
# A length, or an array of lengths.
Count = TypeVar("Count", int, NDArray[np.int64])


@dataclass(frozen=True)
class CodesShape:
    """The shape of a codec's codes `[K, T]`, integers, and of the values beside them.

    Attributes:
        samples_per_frame: at the input rate; an exact number, unlike a rounded frame rate.
        output_samples_per_frame: at the output rate.
        codebook_sizes: entries of each row of the codes; their number is K.
        semantic_codebooks: rows that were trained to hold meaning; empty where none is special.
        padding_samples: frames are `(L + padding_samples) // samples_per_frame`: 0 rounds down,
            `samples_per_frame - 1` up.
        min_samples: shorter clips have no codes.
        max_seconds: longer clips are refused; None where there is no limit.
        min_source_rate_hz: clips recorded at a lower rate are refused.
        prefixes_decode: whether the first K' < K rows decode without the others.
        side_floats: float32 values of a clip beside its codes.
    """

    input_rate_hz: int
    output_rate_hz: int
    samples_per_frame: int
    output_samples_per_frame: int
    codebook_sizes: tuple[int, ...]
    semantic_codebooks: tuple[int, ...] = ()
    padding_samples: int = 0
    min_samples: int = 1
    max_seconds: float | None = None
    min_source_rate_hz: int = 0
    prefixes_decode: bool = True
    side_floats: int = 0

    @classmethod
    def of(cls, codec: Mapping[str, Any]) -> Self:
        """The shape in a codec's identity, of this version of xytok or of the one before it."""
        if "shape" not in codec:
            return cls._of_first_format(codec)
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in codec["shape"].items() if name in known}
        for name in ("codebook_sizes", "semantic_codebooks"):
            values[name] = tuple(values[name])
        return cls(**values)

    @classmethod
    def _of_first_format(cls, codec: Mapping[str, Any]) -> Self:
        """The shape of an XY-Tokenizer in identities of format 1, which knew no other codec."""
        hop, rate, output_rate = (
            int(codec[name]) for name in ("samples_per_frame", "input_rate_hz", "output_rate_hz")
        )
        return cls(
            input_rate_hz=rate,
            output_rate_hz=output_rate,
            samples_per_frame=hop,
            output_samples_per_frame=hop * output_rate // rate,
            codebook_sizes=(int(codec["codebook_size"]),) * int(codec["num_codebooks"]),
            min_samples=hop,
        )

    @property
    def num_codebooks(self) -> int:
        """K, the rows of the codes."""
        return len(self.codebook_sizes)

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.input_rate_hz / self.samples_per_frame

    @property
    def bits_per_second(self) -> float:
        """What the codes hold at most, if every entry is equally likely."""
        return self.frame_rate_hz * sum(math.log2(size) for size in self.codebook_sizes)

    def codebooks_in_words(self) -> str:
        """For people: `8 codebooks of 1,024`, or all sizes where they differ."""
        sizes = [f"{size:,}" for size in self.codebook_sizes]
        if len(sizes) == 1:
            return f"1 codebook of {sizes[0]}"
        listed = sizes[0] if len(set(sizes)) == 1 else ", ".join(sizes)
        return f"{len(sizes)} codebooks of {listed}"

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """int16 while all entries fit, else int32."""
        fits = max(self.codebook_sizes) <= _MOST_INT16_ENTRIES
        return np.dtype(np.int16 if fits else np.int32)

    def num_frames(self, num_samples: Count) -> Count:
        """Frames of a clip of so many samples at the input rate, or of each of many."""
        frames = (num_samples + self.padding_samples) // self.samples_per_frame
        return frames * (num_samples >= self.min_samples)

    def frames_in(self, seconds: float) -> int:
        """Frames in so many seconds, at least one."""
        return max(1, round(seconds * self.frame_rate_hz))
