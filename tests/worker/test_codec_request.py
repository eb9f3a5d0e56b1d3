"""The options of a codec, as words of a command line and as a mapping."""

from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.worker.codec_request import CodecRequest


def test_words_and_a_mapping_are_the_same_options() -> None:
    given: Any = {"depth": 3, "overlap_seconds": 2.5, "allow_upsampling": True}
    by_mapping = CodecRequest("fake", options=given)
    words = ("depth=3", "overlap_seconds=2.5", "allow_upsampling=true")
    assert by_mapping == CodecRequest("fake", options=words)
    assert by_mapping.chosen_options() == given
    assert CodecRequest("fake", options=("size=small",)).chosen_options() == {"size": "small"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("depth",), "expected a name and a value"),
        (("=3",), "expected a name and a value"),
        (("depth=3", "depth=4"), "given twice, as 3 and 4"),
    ],
)
def test_what_is_no_option_or_two_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CodecRequest("fake", options=words).chosen_options()
