"""The options of a codec, as words of a command line and as a mapping."""

from dataclasses import replace
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


IDENTITY = {"name": "xy-nano", "precision": "fast", "options": {"depth": 4, "overlap_seconds": 2.5}}
NOTES = {"codec_source": "s3://b/weights.safetensors", "codec_config": "s3://b/config.yaml"}


def test_the_codec_of_a_run_is_asked_for_as_the_run_recorded_it() -> None:
    options = ("depth=4", "overlap_seconds=2.5")
    asked = CodecRequest(
        NOTES["codec_source"], NOTES["codec_config"], precision="fast", options=options
    )
    assert CodecRequest.recorded(IDENTITY, NOTES) == asked
    assert CodecRequest.recorded(IDENTITY, {}).source == "xy-nano"
    other = CodecRequest.recorded(IDENTITY, NOTES, precision="exact", device="cpu")
    assert other == replace(asked, precision="exact", device="cpu")


def test_a_codec_that_is_elsewhere_now_comes_with_the_configuration_beside_it() -> None:
    moved = CodecRequest.recorded(IDENTITY, NOTES, source="here")
    assert (moved.source, moved.config) == ("here", None)
    named = CodecRequest.recorded(IDENTITY, NOTES, source="here", config="there.yaml")
    assert (named.source, named.config) == ("here", "there.yaml")


def test_runs_of_format_1_have_the_overlap_alone() -> None:
    first = {"name": "xy-nano", "precision": "exact", "overlap_seconds": 5.0}
    assert CodecRequest.recorded(first, {}).chosen_options() == {"overlap_seconds": 5.0}
