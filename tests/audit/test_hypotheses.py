import io

import numpy as np
import pytest
import soundfile

from pipeline.audit.codes.reencode import codes_of_another, explain
from pipeline.audit.sample.originals import Original
from tests.support.audit_simulation import sampled_clip
from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import resample
from xy_codec.fake import FakeCodec

CODEC = FakeCodec()


@pytest.fixture(scope="module")
def original() -> Original:
    payload = next(iter(read_members(SPEECH / "Emilia/EN/EN-B000000.tar", ".mp3").values()))
    return Original(sampled_clip(), payload, resample(*native(payload), 16000), True)


def native(payload: bytes) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(payload), dtype="float32")


def linear(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    places = np.arange(0, len(samples), rate_hz / 16000)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def late(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    return resample(np.concatenate([np.zeros(1105, np.float32), samples]), rate_hz, 16000)


@pytest.mark.parametrize(
    ("remake", "name"),
    [
        (linear, "resampler linear"),
        (lambda samples, _: samples, "resampler missing (read at a wrong rate)"),
        (late, "offset +1105 samples at the start"),
        (lambda samples, rate: resample(samples, rate, 16000) * 0.5012, "gain -6 dB"),
    ],
)
def test_how_codes_came_about_is_found_by_doing_it_again(original, remake, name):
    (fresh,) = CODEC.encode([original.waveform])
    (stored,) = CODEC.encode([remake(*native(original.payload))])
    found = explain(stored, fresh, original, CODEC)
    assert found is not None
    assert found.name == name
    assert found.agreement > 0.9


def test_codes_that_come_from_nowhere_stay_unexplained(original):
    (fresh,) = CODEC.encode([original.waveform])
    stored = np.random.default_rng(0).integers(0, 1024, fresh.shape, dtype=np.int16)
    assert explain(stored, fresh, original, CODEC) is None


def test_swapped_codes_name_the_row_that_has_them():
    rng = np.random.default_rng(0)
    rows = {row: rng.integers(0, 1024, (8, 50), dtype=np.int16) for row in range(4)}
    keys = {row: f"clip-{row}" for row in rows}
    found = codes_of_another(rows[2], 1, rows, keys)
    assert found is not None
    assert "clip-2" in found.name
    assert codes_of_another(rows[2], 2, rows, keys) is None
