"""Stored codes against fresh ones from the same original: what differs, and how."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import NO_DIFFERENCE, Drift, Scores
from xy_codec.contract import Codes, Side

# Shifts to look for: 12 frames of XY-Tokenizer.
MAX_SHIFT_SECONDS = 0.96
# A shift explains a difference when it lifts the agreement by this much, and to at least that.
_SHIFT_GAIN = 0.2
_SHIFT_AGREEMENT = 0.3
# Fewer frames than this agree at some shift by chance.
_MIN_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hypothesis under which the stored codes come out, and the share that then agrees."""

    name: str
    agreement: float


def compare_codes(
    stored: Codes,
    fresh: Codes,
    *,
    max_shift: int = 12,
    side_error: float = 0.0,
    same_audio: bool | None = None,
    paired: Scores = NO_DIFFERENCE,
    explanation: Explanation | None = None,
) -> Drift:
    """The drift of one clip; `[K, T]` each, of the same K."""
    frames = min(stored.shape[1], fresh.shape[1])
    left, right = stored[:, :frames], fresh[:, :frames]
    differs = left != right
    shift, agreement = _best_shift(stored, fresh, max_shift)
    return Drift(
        stored_frames=stored.shape[1],
        fresh_frames=fresh.shape[1],
        differing_codes=tuple(int(count) for count in differs.sum(axis=1)),
        differing_frames=int(differs.any(axis=0).sum()),
        one_bit_flips=_one_bit_flips(left[differs], right[differs]),
        constant_codebooks=_constant_codebooks(stored, fresh),
        best_shift_frames=shift,
        agreement_at_shift=agreement,
        paired=paired,
        side_error=side_error,
        same_audio=same_audio,
        explained_by=explanation.name if explanation else None,
        explained_agreement=explanation.agreement if explanation else None,
    )


def side_error(stored: Side | None, fresh: Side | None) -> float:
    """The largest difference of two clips' side values; infinite where they cannot be compared."""
    if stored is None and fresh is None:
        return 0.0
    if stored is None or fresh is None or stored.shape != fresh.shape:
        return math.inf
    error = float(np.abs(stored - fresh).max(initial=0.0))
    return math.inf if math.isnan(error) else error


def agreement(stored: Codes, fresh: Codes, shift: int = 0) -> float:
    """Share of equal codes with stored[t] against fresh[t - shift], over the frames both have."""
    left = stored[:, max(shift, 0) :]
    right = fresh[:, max(-shift, 0) :]
    frames = min(left.shape[1], right.shape[1])
    if frames == 0 or left.shape[0] != right.shape[0]:
        return 0.0
    return float((left[:, :frames] == right[:, :frames]).mean())


def _best_shift(stored: Codes, fresh: Codes, max_shift: int) -> tuple[int, float]:
    still = agreement(stored, fresh)
    frames = min(stored.shape[1], fresh.shape[1])
    reach = min(max_shift, frames - _MIN_FRAMES)
    if still == 1.0 or reach < 1:
        return 0, still
    shifts = [shift for shift in range(-reach, reach + 1) if shift]
    agreements = [agreement(stored, fresh, shift) for shift in shifts]
    best = int(np.argmax(agreements))
    if agreements[best] < max(still + _SHIFT_GAIN, _SHIFT_AGREEMENT):
        return 0, still
    return shifts[best], agreements[best]


def _one_bit_flips(left: NDArray[np.int16], right: NDArray[np.int16]) -> int:
    changed = left ^ right
    return int(((changed & (changed - 1)) == 0).sum())


def _constant_codebooks(stored: Codes, fresh: Codes) -> tuple[int, ...]:
    """Codebooks that are stuck on one value in the stored codes while the fresh ones move."""
    if stored.shape[1] < _MIN_FRAMES or fresh.shape[1] < 2:
        return ()
    stuck = (stored == stored[:, :1]).all(axis=1) & (fresh != fresh[:, :1]).any(axis=1)
    return tuple(int(book) for book in np.flatnonzero(stuck))
