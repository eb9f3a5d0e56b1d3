"""How much of what is said survives: an offline recogniser on originals and reconstructions.

The held-out speech has no transcripts, so the recogniser's own text of the original is the
reference; its character error rate on the original is zero by construction, and the rate on the
reconstruction is the increase.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.audit.metrics.heard_text import edits

Counts = npt.NDArray[np.float64]


class Transcribe(Protocol):
    """Hears a wave, in a language or in the one that it finds."""

    def __call__(
        self, wave: npt.NDArray[np.float32], language: str | None = None
    ) -> tuple[str, str]:
        """The text, made normal, and the language."""
        ...


def recogniser(folder: Path) -> Transcribe:
    """A multilingual Whisper in CTranslate2's format; needs `faster-whisper`."""
    from faster_whisper import WhisperModel

    model: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)

    def transcribe(wave: npt.NDArray[np.float32], language: str | None = None) -> tuple[str, str]:
        # One temperature: on noise the others are tried in vain, six times the work.
        segments, found = model.transcribe(
            wave,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            max_new_tokens=120,
        )
        return normal("".join(segment.text for segment in segments)), found.language

    return transcribe


def normal(text: str) -> str:
    """Lower case letters and digits, single spaces."""
    kept = "".join(each if each.isalnum() else " " for each in text.lower())
    return " ".join(kept.split())


def phoneme_recogniser() -> Callable[[npt.NDArray[np.float32]], list[str]]:
    """A recogniser of another family: phonemes by CTC; needs `hama`."""
    from hama import ASRModel

    model: Any = ASRModel()
    return lambda wave: list(model(wave, 16_000).phonemes)


Pairs = Sequence[tuple[Sequence[str], Sequence[str]]]  # of references and what was heard


def count_errors(pairs: Pairs, most_of_clip: float = np.inf) -> tuple[Counts, Counts]:
    """Errors and lengths of references; no clip has more than `most_of_clip` of its length."""
    lengths = np.array([len(reference) for reference, _ in pairs], np.float64)
    wrong = np.array([edits(reference, heard) for reference, heard in pairs], np.float64)
    return np.minimum(wrong, most_of_clip * lengths), lengths


def error_rates(pairs: Pairs, most_of_clip: float = np.inf) -> tuple[float, float, float]:
    """Errors over all pairs a character of them, and the 95 % bootstrap interval over clips."""
    return pooled(*count_errors(pairs, most_of_clip))


def pooled(wrong: Counts, lengths: Counts) -> tuple[float, float, float]:
    """The ratio of two sums and its 95 % bootstrap interval over clips."""
    drawn = np.random.default_rng(0).integers(len(wrong), size=(1000, len(wrong)))
    low, high = np.percentile(wrong[drawn].sum(1) / lengths[drawn].sum(1), [2.5, 97.5])
    return float(wrong.sum() / lengths.sum()), float(low), float(high)
