"""Errors of texts: known distances, one normal form, and what a reconstruction adds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit.metrics.heard_text import (
    character_errors,
    edits,
    normal,
    text_scores,
    word_errors,
)


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a", "a", 0)],
)
def test_known_distances(left: str, right: str, distance: int) -> None:
    assert edits(left, right) == distance


@given(st.text("ab", max_size=7), st.text("ab", max_size=7), st.text("ab", max_size=7))
def test_distances_are_a_metric(a: str, b: str, c: str) -> None:
    assert edits(a, b) == edits(b, a)
    assert (edits(a, b) == 0) == (a == b)
    assert edits(a, c) <= edits(a, b) + edits(b, c)
    assert abs(len(a) - len(b)) <= edits(a, b) <= max(len(a), len(b))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Hello,  WORLD! ", "hello world"),
        ("it's 5 o'clock", "it s 5 o clock"),
        ("Straße", "strasse"),
        ("ＡＢＣ１", "abc1"),
        ("हिन्दी।", "हिन्दी"),
        ("你好，世界。", "你好 世界"),
        ("…!", ""),
    ],
)
def test_one_normal_form(text: str, expected: str) -> None:
    assert normal(text) == expected


def test_words_and_characters_are_counted_apart() -> None:
    assert word_errors("the cat sat", "the cat") == word_errors("the cat sat", "a the cat sat")
    assert word_errors("the cat sat", "the mat sat").rate == pytest.approx(1 / 3)
    assert character_errors("the cat sat", "the mat sat").rate == pytest.approx(1 / 9)
    # Where a space is heard does not matter to characters.
    assert character_errors("ice cream", "icecream").edits == 0


def test_a_recogniser_that_repeats_itself_counts_as_all_wrong_and_not_more() -> None:
    found, _ = text_scores("yes", "en", "yes", "yes " * 50)
    assert found["cer_reconstruction"] == found["cer_increase"] == 1.0
    assert found["text_rate_change"] > 40


def test_what_the_original_has_is_not_the_codec_s() -> None:
    found, reasons = text_scores("one two three four", "en", "one too three four", "one too three")
    assert found["wer_original"] == 0.25
    assert found["wer_increase"] == 0.25
    assert not reasons


def test_languages_without_spaces_have_characters_only() -> None:
    found, reasons = text_scores("你好世界", "zh", "你好世界", "你好是界")
    assert found["cer_increase"] == 0.25
    assert set(reasons.values()) == {"no_words"}
    assert "wer_increase" not in found


@pytest.mark.parametrize("text", [None, "", " ... "])
def test_without_a_text_nothing_is_counted(text: str | None) -> None:
    found, reasons = text_scores(text, "en", "something", "something")
    assert not found
    assert set(reasons.values()) == {"no_text"}


def test_nothing_heard_loses_all() -> None:
    found, reasons = text_scores("hello", "en", "", "")
    assert found["cer_original"] == 1.0
    assert found["cer_increase"] == 0.0
    assert reasons == {"text_rate_change": "no_utterance"}
    assert np.isfinite(list(found.values())).all()
