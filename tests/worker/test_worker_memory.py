"""Memory of a worker stays bounded, whatever the shard or the clip is."""

import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.peak_memory import peak_mib, write_clips
from tests.support.shard_maker import audio, speech

MIB = 1 << 20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_shard(tmp_path: Path) -> None:
    # Much more bytes than sound, so that the shard is large and the test is not long.
    payload = audio(2.0, seed=1) + bytes(2 * MIB)
    small = peak_mib(write_clips(tmp_path / "small.tar", 60, payload), tmp_path / "o1")
    large = peak_mib(write_clips(tmp_path / "large.tar", 600, payload), tmp_path / "o2")
    assert large < small + 150


@pytest.mark.slow
def test_a_three_hour_clip_fits_into_two_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    minute = speech(60.0, 24000)
    with soundfile.SoundFile(path, "w", 24000, 1, format="FLAC") as file:
        for _ in range(180):
            file.write(minute)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(path, "long.flac")
    base = peak_mib(write_clips(tmp_path / "base.tar", 1, audio(1.0)), tmp_path / "o1")
    peak = peak_mib(tmp_path / "s.tar", tmp_path / "o2")
    assert peak - base < 2048
    (part,) = tmp_path.glob("o2/tokens/**/s.parquet")
    (row,) = pq.read_table(part).to_pylist()
    assert row["num_frames"] == int(3 * 3600 * 12.5)
    assert np.array(row["codes"]).shape == (8, row["num_frames"])
