"""One batch of speech, as `speech_stream.py` makes it and the stages of training take it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Waves `[B, L]`, the samples of each that are not padding, and what is said where known."""

    waves: Tensor
    lengths: Tensor
    texts: tuple[str, ...]  # "" where the text is unknown or the clip was cut
