"""Errors between a text and what was recognised: edits of words or characters, and their rate."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Errors(NamedTuple):
    """How many edits turn a text of `length` words or characters into another one."""

    edits: int
    length: int


def normal(text: str) -> str:
    """Lower-case letters and digits with single spaces between words."""
    kept = "".join(each if each.isalnum() else " " for each in text.lower())
    return " ".join(kept.split())


def word_errors(reference: str, text: str) -> Errors:
    """The errors of words in two normal texts."""
    words = reference.split()
    return Errors(edits(words, text.split()), len(words))


def character_errors(reference: str, text: str) -> Errors:
    """The errors of characters, spaces among them, in two normal texts."""
    return Errors(edits(reference, text), len(reference))


def edits(reference: Sequence[Hashable], text: Sequence[Hashable]) -> int:
    """How many words or characters to insert, delete or replace between two sequences."""
    row = list(range(len(text) + 1))
    for i, wanted in enumerate(reference, start=1):
        above, row[0] = row[0], i
        for j, found in enumerate(text, start=1):
            best = min(row[j] + 1, row[j - 1] + 1, above + (wanted != found))
            above, row[j] = row[j], best
    return row[-1]
