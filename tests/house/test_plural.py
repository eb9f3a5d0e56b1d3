"""Counts are written with their nouns as people write them, wherever a verb prints one."""

import re

import pytest

from pipeline.plural import plural
from tests.support.places import ROOT

# `{count} shards` in a string, or `%d shards` in a log line: wrong where there is one. Behind
# a slash it is a total, and a constant is never one.
_COUNT = r"(?<!/)(?:\{[a-z][\w.()\[\]]*(?::,)?\}|%d)"
_NOUNS = (
    *("shards", "clips", "holes", "keys", "files", "rows", "rejects", "speakers", "languages"),
    *("codebooks", "pairs", "parts", "workers", "nodes", "cores", "threads", "leftovers"),
)
_BARE = re.compile(rf"{_COUNT} (?:{'|'.join(_NOUNS)})\b")
# What is wrong with them is that there are several, or fewer than one.
_NEVER_ONE = (
    "{len(found)} rows have the key",
    "{self.num_codebooks} codebooks",
    "a shuffle buffer of ",
)


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("clip",), "0 clips"),
        (1, ("clip",), "1 clip"),
        (2_000, ("hole",), "2,000 holes"),
        (1, ("shard is", "shards are"), "1 shard is"),
        (2, ("shard is", "shards are"), "2 shards are"),
    ],
)
def test_a_count_has_the_noun_that_goes_with_it(
    count: int, words: tuple[str, ...], said: str
) -> None:
    assert plural(count, *words) == said


def test_no_verb_prints_a_count_beside_a_bare_noun() -> None:
    files = [*ROOT.glob("jobs/*.py"), *ROOT.glob("pipeline/**/*.py")]
    wrong = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in files
        for line in file.read_text().splitlines()
        if _BARE.search(line) and not any(words in line for words in _NEVER_ONE)
    ]
    assert not wrong
