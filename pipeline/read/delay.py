"""Delay patterns: each codebook shifted to the right, as trainers of several codebooks want it.

Row k of the codes `[K, T]` begins `delays[k]` frames later; what is before and after it is filled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.errors import UsageError
from pipeline.plural import plural


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """Where each codebook begins, how much longer the whole gets, and what is in the gaps.

    Attributes:
        first: the delay of the first codebook.
        extra: frames after the longest row.
        end: what the gap after a row holds, as a distance from what the gap before it holds.
    """

    first: int
    extra: int = 0
    end: int = 0


PATTERNS = {
    "moss": DelayPattern(0),  # MOSS-TTS: [K, T + K - 1]
    "musicgen": DelayPattern(1),  # [K, T + K]; the first column is all filled
    "higgs": DelayPattern(1, extra=1, end=1),  # begin and end of each row have ids of their own
}
Delay = str | Sequence[int] | None


def delay_codes(codes: torch.Tensor, delay: Delay, fill: int) -> torch.Tensor:
    """Codes `[K, T]` with their rows delayed; gaps hold `fill`.

    Args:
        delay: `moss`, `musicgen` or `higgs`, the delay of each codebook, or None for none.

    >>> import torch
    >>> xytok.delay_codes(torch.tensor([[1, 2], [3, 4]]), "moss", fill=9).tolist()
    [[1, 2, 9], [9, 3, 4]]
    """
    if delay is None:
        return codes
    books, frames = codes.shape
    pattern = PATTERNS.get(delay) if isinstance(delay, str) else DelayPattern(0)
    if pattern is None:
        raise UsageError(
            f"`delay={delay!r}` is no pattern; expected {', '.join(PATTERNS)}, or the delay of "
            "each codebook, such as `[0, 1, 1, 2]`"
        )
    delays = [pattern.first + k for k in range(books)] if isinstance(delay, str) else list(delay)
    if len(delays) != books or min(delays) < 0:
        raise UsageError(
            f"`delay={delay!r}` does not fit codes of {plural(books, 'codebook')}; expected a "
            "delay of 0 or more for each"
        )
    length = frames + max(delays) + pattern.extra
    shifted = codes.new_full((books, length), fill)
    for row, (values, start) in enumerate(zip(codes, delays, strict=True)):
        shifted[row, start : start + frames] = values
        shifted[row, start + frames :] = fill + pattern.end
    return shifted
