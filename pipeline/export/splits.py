"""How near splits come to their shares: each takes whole speakers, by the hash of their names."""

import logging
from collections.abc import Mapping

from pipeline.errors import UsageError
from pipeline.plural import plural

logger = logging.getLogger(__name__)
# A split that is off by more than this part of its share is named.
FAR = 0.25
# Speakers are counted up to here: with more of them shares are met.
MOST_COUNTED = 1000


def check_splits(
    shares: Mapping[str, float], clips: Mapping[str, int], speakers: int, *, may_be_empty: bool
) -> None:
    """Refuse splits without a clip, and warn of those that are far from their shares.

    Args:
        shares: what was asked for, by the names of the splits.
        clips: what each of them gets.
        speakers: how many there are, counted up to `MOST_COUNTED`.
    """
    many = f"more than {MOST_COUNTED:,} speakers" if speakers >= MOST_COUNTED else ""
    why = (
        "a split takes whole speakers, by the hash of their names, and the clips have "
        f"{many or plural(speakers, 'speaker')}"
    )
    empty = [f"`{name}`" for name in shares if not clips.get(name)]
    if empty and not may_be_empty:
        raise UsageError(
            f"`--split` leaves {' and '.join(empty)} without a clip: {why}; expected some in each; "
            "give larger shares, or pass `--allow-empty-split`"
        )
    total = max(1, sum(clips.values()))
    far = [
        f"`{name}` gets {clips.get(name, 0) / total:.1%} of the clips, {share:.1%} were asked for"
        for name, share in shares.items()
        if abs(clips.get(name, 0) / total - share) > FAR * share
    ]
    if far:
        logger.warning(
            "Splits are off by more than a quarter of their shares: %s, because %s",
            *("; ".join(far), why),
        )


def split_words(shares: Mapping[str, float], clips: Mapping[str, int]) -> str:
    """What each split got and was to get."""
    total = max(1, sum(clips.values()))
    return ", ".join(
        f"{name} {clips[name]:,} ({clips[name] / total:.1%}, asked {share:.1%})"
        for name, share in shares.items()
    )
