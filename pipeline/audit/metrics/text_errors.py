"""Errors of what a recogniser heard against the text of a clip: words and characters.

Texts are made normal first: NFKC, case folded, everything that is no letter, digit or mark of one
is a space, runs of spaces are one. Numbers and abbreviations stay as they are written, on both
sides of a pair, so they do not move what a reconstruction adds to its original.
"""

import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audit.findings import TEXT_METRICS
from pipeline.audit.metrics.reasons import Reason

# Scores, and the reasons of those that are missing.
TextScores = tuple[dict[str, float], dict[str, str]]
# Written without spaces between words: only their characters are counted.
WITHOUT_WORDS = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


@dataclass(frozen=True, slots=True)
class Errors:
    """The fewest edits that turn a text of `length` words or characters into another."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        """Edits a unit, at most 1: a recogniser that repeats itself counts as all wrong."""
        return min(self.edits / self.length, 1.0) if self.length else float("nan")


def normal(text: str) -> str:
    """The letters and digits of a text, in one case, with single spaces between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    marks = {each for each in folded if unicodedata.category(each)[0] == "M"}
    kept = (each if each.isalnum() or each in marks else " " for each in folded)
    return " ".join("".join(kept).split())


def word_errors(reference: str, text: str) -> Errors:
    """The errors of words in two normal texts."""
    words = reference.split()
    return Errors(edits(words, text.split()), len(words))


def character_errors(reference: str, text: str) -> Errors:
    """The errors of characters in two normal texts; spaces between words do not count."""
    reference, text = reference.replace(" ", ""), text.replace(" ", "")
    return Errors(edits(reference, text), len(reference))


def text_scores(text: str | None, language: str, original: str, reconstruction: str) -> TextScores:
    """How much more of a clip's text is lost in what was heard of its reconstruction.

    The text of a corpus is often a recogniser's own: what its errors are in the original says
    little of the codec, what the reconstruction adds to them does.
    """
    known, *heard = (normal(each) for each in (text or "", original, reconstruction))
    if not known:
        return {}, dict.fromkeys(TEXT_METRICS, Reason.NO_TEXT.value)
    reasons: dict[str, str] = {}
    before, after = (character_errors(known, each).rate for each in heard)
    found = {"cer_original": before, "cer_reconstruction": after, "cer_increase": after - before}
    if language.lower() in WITHOUT_WORDS:
        names = ("wer_original", "wer_reconstruction", "wer_increase")
        reasons |= dict.fromkeys(names, Reason.NO_WORDS.value)
    else:
        words, more = (word_errors(known, each).rate for each in heard)
        found |= {"wer_original": words, "wer_reconstruction": more, "wer_increase": more - words}
    if heard[0]:
        found["text_rate_change"] = len(heard[1]) / len(heard[0]) - 1
    else:
        reasons["text_rate_change"] = Reason.NO_UTTERANCE.value
    return found, reasons


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
