"""How much of what is said survives: an offline recogniser on originals and reconstructions.

The held-out speech has no transcripts, so the recogniser's own text of the original is the
reference; its character error rate on the original is zero by construction, and the rate on the
reconstruction is the increase.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.metrics.heard_text import edits

Transcribe = Callable[[npt.NDArray[np.float32]], str]


def recogniser(folder: Path) -> Transcribe:
    """A multilingual Whisper in CTranslate2's format; needs `faster-whisper`."""
    from faster_whisper import WhisperModel

    model: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)

    def transcribe(wave: npt.NDArray[np.float32]) -> str:
        # One temperature: on noise the others are tried in vain, six times the work.
        segments, _ = model.transcribe(
            wave, beam_size=1, temperature=0.0, condition_on_previous_text=False, max_new_tokens=120
        )
        return normal("".join(segment.text for segment in segments))

    return transcribe


def normal(text: str) -> str:
    """Lower case letters and digits, single spaces."""
    kept = "".join(each if each.isalnum() else " " for each in text.lower())
    return " ".join(kept.split())


def error_rates(pairs: list[tuple[str, str]]) -> tuple[float, float, float]:
    """Character error rate over all pairs and its 95 % bootstrap interval over clips."""
    lengths = np.array([len(reference) for reference, _ in pairs])
    wrong = np.array([edits(reference, text) for reference, text in pairs])
    drawn = np.random.default_rng(0).integers(len(pairs), size=(1000, len(pairs)))
    low, high = np.percentile(wrong[drawn].sum(1) / lengths[drawn].sum(1), [2.5, 97.5])
    return float(wrong.sum() / lengths.sum()), float(low), float(high)
