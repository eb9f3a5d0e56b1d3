"""Projections, profiles and storage figures."""

import time
from dataclasses import replace

import pytest

from jobs.run_options import RunOptions
from pipeline.bench.corpus_cost import Corpus, Speeds, estimate_cost
from pipeline.bench.kept_speeds import find_speed, keep_speed, speeds_path
from pipeline.bench.storage_speed import measure_storage
from pipeline.bench.tuning_profile import TuningProfile, read_profile, write_profile
from pipeline.errors import InputError
from pipeline.output.part_size import codes_bytes_per_second
from pipeline.storage.client import Storage
from pipeline.storage.streams import BLOCK_BYTES
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from xy_codec.fake import FAKES

PROFILE = TuningProfile(
    cpu="Some CPU",
    cores=8,
    device="cpu",
    decode_threads=3,
    ahead_seconds=600.0,
    buffers_in_flight=2,
)


def speeds(**changes):
    usual = {
        "workers": 10,
        "encode": 1000.0,
        "host_per_core": 500.0,
        "start_up_seconds": 0.0,
        "driver_seconds_per_shard": 0.001,
        "codes_bytes_per_second": codes_bytes_per_second(FAKES["fake"]),
    }
    return Speeds(**usual | changes)


def test_hours_divided_by_speed_are_device_hours():
    projection = estimate_cost(Corpus("c", 10_000, 1, shards=1000, size_bytes=1e12), speeds())
    assert projection.device_hours == pytest.approx(10.0)
    assert projection.wall_hours == pytest.approx(1.0 + 0.01)
    assert projection.cores_per_worker == 2.0


def test_workers_beyond_the_shards_do_not_shorten_a_run():
    corpus = Corpus("c", 10_000, 1, shards=10, size_bytes=1e12)
    wide, narrow = (
        estimate_cost(corpus, speeds(workers=1000)),
        estimate_cost(corpus, speeds(workers=10)),
    )
    assert wide.wall_hours == narrow.wall_hours


def test_start_up_is_paid_by_every_worker_and_once_on_the_clock():
    corpus = Corpus("c", 10_000, 1, shards=1000, size_bytes=1e12)
    slow, quick = (
        estimate_cost(corpus, speeds(start_up_seconds=360.0)),
        estimate_cost(corpus, speeds()),
    )
    assert slow.device_hours - quick.device_hours == pytest.approx(1.0)
    assert slow.wall_hours - quick.wall_hours == pytest.approx(0.1)


def test_all_codes_of_emilia_take_46_gigabytes():
    projection = estimate_cost(Corpus.of_hours(101_000), speeds())
    assert projection.output_bytes == pytest.approx(46e9, rel=0.02)


def test_a_shard_takes_one_request_per_block_and_three_to_write():
    corpus = Corpus("c", 10, 1, shards=10, size_bytes=10 * 5 * BLOCK_BYTES)
    assert estimate_cost(corpus, speeds()).requests == 10 * (5 + 3) + 2


def test_corpus_of_hours_has_emilias_clips_and_bytes():
    corpus = Corpus.of_hours(101_000)
    assert corpus.clips == pytest.approx(37e6, rel=0.02)
    assert corpus.size_bytes == pytest.approx(2.3 * 2**40, rel=0.02)


def test_profile_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "profile.json"
    write_profile(path, PROFILE)
    assert read_profile(path) == PROFILE
    assert [p.name for p in path.parent.iterdir()] == ["profile.json"]


def test_a_run_uses_a_profile_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_profile(tmp_path / "xytok" / "profile.json", PROFILE)
    plain = RunOptions(codec=CodecRequest("fake"), engine="inline")
    assert plain.find_tuning() == Tuning()


def test_a_speed_is_found_for_the_same_codec_and_machine_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = CodecRequest("fake", options=("depth=4", "overlap_seconds=5"))
    assert find_speed(asked) is None
    keep_speed(asked, 12.0, "Some GPU")
    keep_speed(asked, 13.0, "Some GPU")
    assert find_speed(asked) == (13.0, f"Some GPU, {time.strftime('%Y-%m-%d', time.gmtime())}")
    assert find_speed(replace(asked, options=asked.options[::-1])) == find_speed(asked)
    for other in (replace(asked, precision="fast"), replace(asked, options=())):
        assert find_speed(other) is None
    monkeypatch.setattr("pipeline.bench.kept_speeds.cpu_name", lambda: "another machine")
    assert find_speed(asked) is None


def test_a_file_of_speeds_that_is_damaged_is_written_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_speed(CodecRequest("fake"), 12.0, "cpu")
    speeds_path().write_text("{")
    assert find_speed(CodecRequest("fake")) is None
    keep_speed(CodecRequest("fake"), 13.0, "cpu")
    assert find_speed(CodecRequest("fake")) is not None


def test_flag_wins_over_profile_and_profile_over_default(tmp_path):
    write_profile(tmp_path / "p.json", PROFILE)
    named = RunOptions(codec=CodecRequest("fake"), tuning=tmp_path / "p.json")
    assert named.find_tuning().decode_threads == PROFILE.decode_threads
    assert replace(named, decode_threads=7).find_tuning().decode_threads == 7


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"decode_threads": 3', '"decode_threads": 0'),
        ('"decode_threads": 3', '"decode_threads": "3"'),
        ('"format": 1', '"format": 2'),
        ('"cores": 8', '"colours": 8'),
        ("{", "["),
    ],
)
def test_damaged_profile_is_named_with_what_to_do(tmp_path, old, new):
    path = tmp_path / "profile.json"
    write_profile(path, PROFILE)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=r"profile\.json` cannot be read .* run `xytok bench`"):
        read_profile(path)


def test_storage_is_measured_and_left_as_it_was(tmp_path):
    figures = measure_storage(Storage(), str(tmp_path), size_bytes=8 << 20, small_files=3)
    assert figures.write_mb_per_second > 0
    assert figures.read_mb_per_second > 0
    assert figures.put_seconds > 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_object_store_is_measured_and_left_as_it_was(s3):
    storage = Storage({"s3": s3.storage_options()})
    url = "s3://bench-storage/below"
    storage.filesystem(url)[0].mkdir("bench-storage")
    figures = measure_storage(storage, url, size_bytes=8 << 20, small_files=3)
    assert figures.read_mb_per_second > 0
    # This server keeps an empty folder where files were.
    assert not [file for file in storage.list_files(url) if file.size_bytes]
