"""Options choose the first codebooks, are checked against the folder, and stand in the identity."""

import numpy as np
import pytest

from xy_codec.errors import ConfigError
from xy_codec.loading import load_codec


def noise(num_samples=6000):
    return np.random.default_rng(5).normal(0, 0.1, num_samples).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "option", "rows"),
    [
        ("dac", {"depth": 3}, 3),
        ("mimi", {"depth": 1}, 1),
        ("speechtokenizer", {"depth": 2}, 2),
        ("encodec", {"bandwidth": 1.5}, 2),
        ("encodec", {"bandwidth": 3}, 4),
        ("xcodec", {"bandwidth": 0.5}, 1),
        ("higgs_audio_v2_tokenizer", {"bandwidth": 1}, 4),
    ],
)
def test_an_option_chooses_the_first_rows(name, option, rows, folder_of, codec_of):
    codec = load_codec(folder_of(name), device="cpu", options=option)
    (whole,) = codec_of(name).encode([noise()])
    (first,) = codec.encode([noise()])
    assert np.array_equal(first, whole[:rows])
    assert codec.identity.options == option
    assert codec.identity != codec_of(name).identity
    assert codec.shape.semantic_codebooks == codec_of(name).shape.semantic_codebooks


def test_what_is_left_out_stands_in_the_identity_as_if_it_was_written(folder_of, codec_of):
    written = load_codec(folder_of("encodec"), device="cpu", options={"bandwidth": 6})
    assert written.identity == codec_of("encodec").identity
    assert written.identity.options == {"bandwidth": 6.0}


@pytest.mark.parametrize(
    ("name", "option", "refusal"),
    [
        ("dac", {"depth": 13}, "`depth` is 13; expected one of 1, .*, 12 with `dac`"),
        ("mimi", {"depth": 0}, "`depth` is 0; expected one of 1, "),
        ("speechtokenizer", {"depth": 9}, "`depth` is 9; expected 1 to 8"),
        ("encodec", {"bandwidth": 2}, "`bandwidth` is 2; expected one of 1.5, 3, 6 with"),
        ("encodec", {"depth": 2}, "`depth` is unknown, expected one of bandwidth"),
        ("wavtokenizer", {"depth": 1}, "`depth` is unknown, expected no option at all"),
        ("snac", {"depth": 1}, "`depth` is unknown, expected no option at all"),
    ],
)
def test_an_option_that_the_codec_has_not_is_refused(name, option, refusal, folder_of):
    with pytest.raises(ConfigError, match=refusal):
        load_codec(folder_of(name), device="cpu", options=option)
