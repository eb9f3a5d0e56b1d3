"""A few bundled clips at 16 kHz, each with a copy damaged in a way that never changes."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import read_audio
from xy_codec.contract import Waveform

# Two voices, then two more languages.
CLIPS = (
    ("Emilia/EN/EN-B000000.tar", 0),
    ("Emilia/EN/EN-B000000.tar", 1),
    ("Emilia/IT/IT-B000000.tar", 0),
    ("Emilia/FR/FR-B000000.tar", 1),
)


@lru_cache(maxsize=1)
def speech_pairs() -> tuple[tuple[Waveform, Waveform], ...]:
    originals = [read_clip(SPEECH / shard, index) for shard, index in CLIPS]
    return tuple((original, damage(original)) for original in originals)


def read_clip(shard: Path, index: int) -> Waveform:
    _, payload = sorted(read_members(shard, ".mp3").items())[index]
    return read_audio(io.BytesIO(payload), 16000)


def damage(waveform: Waveform) -> Waveform:
    """Six bits after a mu-law and a mild low pass: audible, and free of random numbers."""
    loud = np.sign(waveform) * np.log1p(255 * np.abs(waveform)) / np.log(256)
    steps = np.round(loud * 31) / 31
    back = np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255
    return np.convolve(back, [0.25, 0.5, 0.25], mode="same").astype(np.float32)
