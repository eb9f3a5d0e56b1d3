"""Lengths, streams and limits of every codec of another package.

`tests/xy_codec/test_conformance.py` holds them to the rest of the contract.
"""

import math

import numpy as np
import pytest

from tests.support.tiny_codecs import MAKERS
from xy_codec.errors import AudioError


def noise(num_samples):
    return np.random.default_rng(5).normal(0, 0.1, num_samples).astype(np.float32)


def frames_of(name, num_samples, hop):
    """How many frames the papers' code gives, as it was read and measured."""
    if name == "neucodec":
        return num_samples // hop
    if name == "xcodec2":
        return num_samples // hop + 1 if num_samples else 0
    return math.ceil(num_samples / hop)


@pytest.mark.parametrize("name", MAKERS)
def test_lengths_at_the_edges_of_a_frame(name, codec_of):
    codec = codec_of(name)
    hop = codec.shape.samples_per_frame
    lengths = [0, 1, hop - 1, hop, hop + 1, 2 * hop - 1, 2 * hop, 2 * hop + 1, 5 * hop + hop // 3]
    codes = codec.encode([noise(length) for length in lengths])
    expected = [frames_of(name, length, hop) for length in lengths]
    assert [each.shape[1] for each in codes] == expected
    assert [codec.shape.num_frames(length) for length in lengths] == expected
    assert all(each.dtype == codec.shape.dtype for each in codes)
    per_frame = codec.shape.output_samples_per_frame
    assert [len(sound) for sound in codec.decode(codes)] == [each * per_frame for each in expected]


@pytest.mark.parametrize("name", MAKERS)
def test_codes_of_a_stream_come_with_their_tags_and_are_counted(name, codec_of):
    codec = codec_of(name)
    hop = codec.shape.samples_per_frame
    before = codec.counters.packs_run
    clips = [("first", noise(2 * hop)), ("empty", noise(0)), ("last", noise(3 * hop))]
    found = {tag: encoded.codes.shape[1] for tag, encoded in codec.encode_stream(iter(clips))}
    assert list(found) == ["first", "empty", "last"]
    assert found["empty"] == 0
    assert found["last"] == found["first"] + 1
    assert codec.counters.packs_run == before + 2


def test_clips_that_cost_too_much_memory_are_refused(codec_of):
    shape = codec_of("xcodec2").shape
    assert shape.max_seconds == 60
    with pytest.raises(AudioError, match="expected at most 60 s"):
        codec_of("xcodec2").encode([noise(60 * 16000 + 1)])
