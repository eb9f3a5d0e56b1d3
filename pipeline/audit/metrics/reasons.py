"""Why a metric has no value; every missing figure is counted under one of these words."""

from enum import StrEnum


class Reason(StrEnum):
    """The closed list of reasons in `findings.parquet`."""

    TOO_SHORT = "too_short"  # shorter than the metric is defined for
    SILENT = "silent"  # one side has no energy at all
    NO_UTTERANCE = "no_utterance"  # PESQ found no speech in one side
    NO_VOICED_FRAMES = "no_voiced_frames"  # no frame is voiced in both sides
    NON_FINITE = "non_finite"  # NaN or infinity in one side, or as the result
    CRASHED = "crashed"  # the metric's package took its process down on this pair
    NOT_INSTALLED = "not_installed"  # the metric's package is missing; the extra `audit` has it
    NOT_ASKED = "not_asked"  # left out by `--metrics`
    UNREADABLE = "unreadable"  # the original could not be read
    UNDECODABLE = "undecodable"  # the original's bytes are no audio
    NO_OFFSET = "no_offset"  # the part has no place of the original in its tar
    NO_TEXT = "no_text"  # the row has no text, or one without letters
    NO_LANGUAGE = "no_language"  # the row has no language, or none that the recogniser knows
    NO_WORDS = "no_words"  # the language is written without spaces between words
    BAD_CODES = "bad_codes"  # the stored codes cannot be decoded


class NotMeasurable(Exception):  # noqa: N818 -- a state of the data, not an error
    """Raised by a metric that is not defined on this pair; never leaves `scores.py`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
