"""SNAC's three rates as seven rows, and the noise of its decoder."""

import json

import numpy as np
import pytest
import torch

from tests.support.tiny_codecs import SNAC, make_snac, quiet_packages
from xy_codec.engine.threads import threads
from xy_codec.errors import CodesError, ConfigError
from xy_codec.hub.packages import import_model
from xy_codec.loading import load_codec

# Which codebook each row is of, and which of its codes in a frame.
ROWS = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.fixture
def by_hand(folder_of):
    with quiet_packages(), torch.inference_mode(), threads(1):
        yield import_model("snac", "snac", "codecs").SNAC.from_pretrained(str(folder_of("snac")))


def noise(num_samples):
    return np.random.default_rng(3).normal(0, 0.1, num_samples).astype(np.float32)


def test_a_frame_holds_one_two_and_four_codes_of_its_codebooks(by_hand, codec_of):
    (codes,) = codec_of("snac").encode([noise(9000)])
    books = by_hand.encode(torch.from_numpy(noise(9000))[None, None])
    assert [book.shape[1] for book in books] == [5, 10, 20]
    for row, (book, place) in zip(codes, ROWS, strict=True):
        count = sum(each == book for each, _ in ROWS)
        assert row.tolist() == books[book][0, place::count].tolist()


def test_sound_without_a_key_is_that_of_the_class_without_noise(by_hand, codec_of):
    codec = codec_of("snac")
    (codes,) = codec.encode([noise(9000)])
    for block in by_hand.decoder.modules():
        if type(block).__name__ == "NoiseBlock":
            block.linear.parametrizations.weight.original0.zero_()
    books = by_hand.encode(torch.from_numpy(noise(9000))[None, None])
    expected = by_hand.decode(books).flatten().numpy()
    assert np.array_equal(codec.decode([codes])[0], expected)


def test_noise_is_that_of_the_key(codec_of):
    codec = codec_of("snac")
    (codes,) = codec.encode([noise(9000)])
    first, other, again, none = codec.decode([codes] * 4, keys=["a", "b", "a", None])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, none)
    assert codec.identity.decodes == "seed"


def test_fewer_rows_do_not_decode(codec_of):
    codec = codec_of("snac")
    (codes,) = codec.encode([noise(9000)])
    with pytest.raises(CodesError, match=r"shape \[3, 5\]; expected .* 7 codebooks"):
        codec.decode([codes[:3]])


def test_releases_with_attention_windows_are_refused(tmp_path):
    folder = make_snac(tmp_path / "snac")
    changed = json.dumps(SNAC | {"attn_window_size": 32})
    (folder / "config.json").write_text(changed)
    with pytest.raises(ConfigError, match="`attn_window_size` 32"):
        load_codec(folder)
