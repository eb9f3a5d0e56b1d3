"""Batches of clips of about equal length that fit a budget of frames, as many on every rank."""

from collections.abc import Sequence


def cut_batches(frames: Sequence[int], budget: int) -> list[list[int]]:
    """The clips by length, in batches whose padded size is at most `budget` frames.

    A clip that is longer than the budget is a batch by itself.
    """
    batches: list[list[int]] = []
    for clip in sorted(range(len(frames)), key=frames.__getitem__):
        # Each clip is the longest so far, so it sets the padded length.
        if batches and (len(batches[-1]) + 1) * frames[clip] <= budget:
            batches[-1].append(clip)
        else:
            batches.append([clip])
    return batches


def split_to(batches: list[list[int]], count: int) -> list[list[int]]:
    """As many batches as `count`, still by length: the largest are halved until it is reached."""
    batches = list(batches)
    while len(batches) < count:
        number = max(range(len(batches)), key=lambda n: len(batches[n]))
        half = len(batches[number]) // 2
        batches[number : number + 1] = batches[number][:half], batches[number][half:]
    return batches
