"""Errors of what a recogniser heard against the text of a clip: words and characters.

Texts are made normal first: NFKC, case folded, everything that is no letter, digit or mark of one
is a space, runs of spaces are one. Numbers and abbreviations stay as they are written, on both
sides of a pair, so they do not move what a reconstruction adds to its original.
"""

import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

# Written without spaces between words: only their characters are counted.
WITHOUT_WORDS = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


@dataclass(frozen=True, slots=True)
class Errors:
    """How many insertions, deletions and replacements turn `length` units into another text."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        """Edits a unit, at most 1: a recogniser that repeats itself counts as all wrong."""
        return min(self.edits / self.length, 1.0) if self.length else float("nan")


def normal(text: str) -> str:
    """The letters and digits of a text, in one case, with single spaces between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (each if each.isalnum() or unicodedata.combining(each) else " " for each in folded)
    return " ".join("".join(kept).split())


def word_errors(reference: str, text: str) -> Errors:
    """The errors of words in two normal texts."""
    words = reference.split()
    return Errors(edits(words, text.split()), len(words))


def character_errors(reference: str, text: str) -> Errors:
    """The errors of characters in two normal texts; spaces between words do not count."""
    reference, text = reference.replace(" ", ""), text.replace(" ", "")
    return Errors(edits(reference, text), len(reference))


def edits(reference: Sequence[Hashable], text: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and replacements between two sequences."""
    numbers: dict[Hashable, int] = {}
    left, right = (
        np.array([numbers.setdefault(each, len(numbers)) for each in side], np.int64)
        for side in (reference, text)
    )
    places = np.arange(len(right) + 1)
    row = places.copy()
    for wanted in left:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + (right != wanted))
        # An insertion costs one a place: the best of all places before, each with its distance.
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])
