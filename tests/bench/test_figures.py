"""The instruments of the benchmarks: lengths, paired timings, matrix work."""

import io
import math
import tarfile
import time

import pytest
import soundfile
import torch

from pipeline.bench.clips import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    emilia_lengths,
    mp3_bytes,
    shard_seconds,
    speech_like,
    write_shards,
)
from pipeline.bench.flops import matmul_peak, record_matrix_work
from pipeline.bench.host_path import HostFigures, enough_threads, thread_counts
from pipeline.bench.timing import Timings, interleave, paired_ratio, repeat_for


@pytest.mark.parametrize("count", [8, 32, 1000])
def test_lengths_have_emilias_mean_and_bounds(count):
    lengths = emilia_lengths(count)
    assert sum(lengths) / count == pytest.approx(9.9, abs=0.15)
    assert SHORTEST_SECONDS <= min(lengths) <= max(lengths) <= LONGEST_SECONDS
    assert emilia_lengths(count) == lengths


def test_mp3_has_emilias_rate_and_bitrate():
    content = mp3_bytes(speech_like(5.0, 24_000, seed=1))
    samples, rate_hz = soundfile.read(io.BytesIO(content))
    assert rate_hz == 24_000
    assert len(samples) / rate_hz == pytest.approx(5.0, abs=0.1)
    assert 8 * len(content) / 5.0 == pytest.approx(56_000, rel=0.1)


def test_shards_hold_the_seconds_they_are_said_to_hold(tmp_path):
    paths = write_shards(tmp_path, num_shards=2, clips_per_shard=5, distinct=3)
    seconds = 0.0
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".mp3"):
                    seconds += soundfile.info(tar.extractfile(member)).duration
    assert seconds == pytest.approx(shard_seconds(2, 5, distinct=3), rel=0.02)


def test_interleaving_runs_every_way_once_a_round_and_turns_the_order():
    order = []
    timings = interleave(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, warm_up=False
    )
    assert order == ["a", "b", "b", "a"]
    assert all(len(t.seconds) == 2 for t in timings.values())


def test_ratio_is_the_median_of_pairs_not_of_sums():
    ratio = paired_ratio(Timings((2.0, 30.0, 8.0)), Timings((1.0, 10.0, 2.0)))
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 4.0)


def test_repeating_stops_when_its_time_is_used_up():
    assert len(repeat_for(lambda: time.sleep(0.05), seconds=0.01).seconds) == 1
    assert len(repeat_for(lambda: None, seconds=5.0, at_most=4).seconds) == 4


def test_matrix_work_counts_every_kind_of_operation():
    torch.set_num_threads(1)
    linear, conv = torch.nn.Linear(32, 64), torch.nn.Conv1d(8, 16, 3)
    rows, signal = torch.randn(10, 32), torch.randn(1, 8, 50)
    query = torch.randn(1, 2, 7, 16)

    def run():
        with torch.inference_mode():
            linear(rows)
            linear(rows)
            conv(signal)
            torch.nn.functional.scaled_dot_product_attention(query, query, query)

    work = record_matrix_work(run)
    assert work.flops == 2 * (2 * 10 * 32 * 64) + 2 * 16 * 48 * 8 * 3 + 2 * 2 * 7 * 7 * 32
    assert sorted(work.calls.values()) == [1, 1, 2]


def test_replayed_work_takes_time_and_needs_no_model():
    torch.set_num_threads(1)
    rows, weight = torch.randn(64, 128), torch.randn(128, 256)
    work = record_matrix_work(lambda: rows @ weight)
    assert 0.0 < work.replay_seconds() < 1.0


def test_matmul_peak_is_a_rate_of_this_machine():
    torch.set_num_threads(1)
    peak = matmul_peak()
    assert math.isfinite(peak)
    assert peak > 1e9


def host_figures(threads, rate):
    return HostFigures(threads, rate, rate / threads, ())


def test_fewest_threads_that_feed_the_codec_twice_over_are_chosen():
    figures = [host_figures(1, 1000.0), host_figures(2, 1900.0), host_figures(4, 2000.0)]
    assert enough_threads(figures, codec_rate=10.0).decode_threads == 1
    assert enough_threads(figures, codec_rate=800.0).decode_threads == 2
    assert enough_threads(figures, codec_rate=9000.0).decode_threads == 2
    assert thread_counts(2) == [1, 2]
    assert thread_counts(12) == [1, 2, 4, 8, 12]
