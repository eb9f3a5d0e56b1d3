"""The reasons of rejects, and the stages in which they are found.

Both are columns of the reject file, so a value never changes its meaning.
"""

from enum import StrEnum


class Stage(StrEnum):
    """The stage of the worker in which a clip became a reject."""

    READ = "read"
    PAIR = "pair"
    DECODE = "decode"
    ENCODE = "encode"


class Reason(StrEnum):
    """Why a clip did not become codes; there are no other reasons."""

    UNDECODABLE = "undecodable"  # libsndfile does not take it as audio
    EMPTY = "empty"  # no bytes, or audio without samples
    TOO_SHORT = "too_short"  # less than one frame after resampling
    TOO_LONG = "too_long"  # longer than --max-clip-seconds
    TOO_BIG = "too_big"  # the member is larger than --max-member-bytes
    TOO_MANY_CHANNELS = "too_many_channels"
    BAD_SAMPLE_RATE = "bad_sample_rate"  # outside the bounds, or no sane resampling kernel
    NON_FINITE = "non_finite"  # NaN or infinity among the samples
    CUT_OFF = "cut_off"  # the tar is damaged inside this member
    MISSING_AUDIO = "missing_audio"  # JSON or text without an audio member
    MISSING_JSON = "missing_json"  # only with --require-json
    BAD_JSON = "bad_json"  # the JSON member is not a JSON object
    DUPLICATE_KEY = "duplicate_key"  # a second audio member of the same key
    CRASHED_DECODER = "crashed_decoder"  # decoding it ended or hung a process
