"""The reasons of rejects, and the stages in which they are found.

Both are columns of the reject file, so a value never changes its meaning.
"""

from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """The stage of the worker in which a clip became a reject."""

    READ = "read"
    PAIR = "pair"
    DECODE = "decode"
    ENCODE = "encode"


class Reason(StrEnum):
    """Why a clip did not become codes; there are no other reasons."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """A reason with what `xytok status` says of it."""
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.meaning = meaning
        return reason

    UNDECODABLE = "undecodable", "libsndfile does not take it as audio"
    EMPTY = "empty", "no bytes, or audio without samples"
    TOO_SHORT = "too_short", "less than one frame of the codec"
    TOO_LONG = "too_long", "longer than `--max-clip-seconds`, or than the codec takes"
    TOO_BIG = "too_big", "larger than `--max-member-bytes`"
    TOO_MANY_CHANNELS = "too_many_channels", "more channels than a recording of speech has"
    BAD_SAMPLE_RATE = "bad_sample_rate", "a rate that no recording has or that cannot be resampled"
    NON_FINITE = "non_finite", "NaN or infinity among the samples"
    CUT_OFF = "cut_off", "it ends early: a damaged tar, or audio shorter than stated"
    MISSING_AUDIO = "missing_audio", "JSON, text or a link without audio"
    MISSING_JSON = "missing_json", "audio without JSON, refused by `--require-json`"
    BAD_JSON = "bad_json", "its JSON is not a JSON object"
    BAD_TEXT = "bad_text", "its text file is neither UTF-8 nor UTF-16 with a mark in front"
    DUPLICATE_KEY = "duplicate_key", "a second audio member of the same key"
    KEY_DOTS = "key_dots", "its name has dots and another clip its key: see `--key-dots`"
    CRASHED_DECODER = "crashed_decoder", "decoding it ended or hung a process"
