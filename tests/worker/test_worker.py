import hashlib
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import OutputError
from pipeline.storage.client import Storage
from pipeline.worker import decode_child
from pipeline.worker.settings import Tuning
from pipeline.worker.worker import ShardWorker
from tests.support.faulty_codecs import ABORT, HANG
from tests.support.inline_run import run_shards, worker_settings
from tests.support.shard_maker import audio, pair, pairs, write_shard
from xy_codec.contract import Encoded, Tag, Waveform
from xy_codec.fake import FakeCodec


def shards_of(folder: Path, count: int = 4) -> list[Shard]:
    for n in range(count):
        write_shard(folder / f"in/s{n}.tar", pairs(6, prefix=f"s{n}-"))
    return list_shards([str(folder / "in")], Storage(), root=str(folder / "in"))


def hashes(output: Path) -> dict[str, str]:
    """Parts, rejects and manifests; events hold times and are not compared."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.relative_to(output).parts[0] != "events"
    }


class HoardingCodec(FakeCodec):
    """Gives nothing back before its stream ends or eight clips are in, and then in reverse."""

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        held: list[tuple[Tag, Waveform]] = []
        for clip in clips:
            held.append(clip)
            if len(held) == 8:
                yield from super().encode_stream(reversed(held))
                held = []
        yield from super().encode_stream(reversed(held))


class BrokenCodec(FakeCodec):
    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        next(iter(clips))
        raise RuntimeError("no kernel image")
        yield


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_order_and_codec_packing_change_no_byte(tmp_path: Path, threads: int) -> None:
    shards = shards_of(tmp_path)
    run_shards(shards, tmp_path / "one")
    run_shards(shards[::-1], tmp_path / "two", codec=HoardingCodec(), tuning=Tuning(threads))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert len(hashes(tmp_path / "one")) == 12


def test_codes_of_a_clip_do_not_depend_on_its_shard(tmp_path: Path) -> None:
    together = run_shards(shards_of(tmp_path / "a", 1), tmp_path / "o1")["s0.tar"]
    lone = write_shard(tmp_path / "b/in/s0.tar", pairs(6, prefix="s0-")[4:6])
    shards = list_shards([str(lone)], Storage(), root=str(tmp_path / "b/in"))
    alone = run_shards(shards, tmp_path / "o2")["s0.tar"]
    assert alone.rows[0]["codes"] == together.rows[2]["codes"]


def test_a_slow_supply_of_shards_does_not_hold_finished_ones_back(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 2)
    first_is_out = threading.Event()

    def supply() -> Iterator[Shard]:
        yield shards[0]
        assert first_is_out.wait(30), "the first shard never came out"
        yield shards[1]

    tuning = Tuning(1, flush_after_seconds=0.05)
    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules(), tuning), HoardingCodec())
    for outcome in worker.run(supply()):
        assert outcome.is_done
        first_is_out.set()


def test_the_next_shard_is_asked_for_before_this_one_is_done(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 3)
    asked: list[str] = []

    def supply() -> Iterator[Shard]:
        for shard in shards:
            asked.append(shard.path)
            yield shard

    class SlowCodec(FakeCodec):
        def encode_stream(self, clips):
            for tag, codes in super().encode_stream(clips):
                time.sleep(0.02)
                yield tag, codes

    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules()), SlowCodec())
    outcomes = worker.run(supply())
    next(outcomes)
    assert len(asked) == 3
    assert len(list(outcomes)) == 2


def test_the_work_of_threads_that_go_on_counts_with_every_outcome(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 1)
    go_on = threading.Event()

    def endless() -> Iterator[Shard]:
        yield from shards
        go_on.wait(60)

    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules()), FakeCodec())
    outcomes = worker.run(endless())
    busy = {stage.name: stage.busy_seconds for stage in next(outcomes).stages}
    go_on.set()
    assert isinstance(outcomes, Generator)
    outcomes.close()
    # Six MP3 clips take longer than this to decode, and a tar to read, on any machine.
    assert busy["decode"] > 1e-3
    assert busy["read"] > 1e-4


def test_a_codec_that_fails_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules()), BrokenCodec())
    with pytest.raises(RuntimeError, match="no kernel image"):
        list(worker.run(iter(shards_of(tmp_path))))
    assert not list(tmp_path.glob("out/manifests/*"))


def test_a_shard_that_is_gone_fails_alone(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 3)
    Path(shards[1].url).unlink()
    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules()), FakeCodec())
    outcomes = {o.shard.path: o for o in worker.run(iter(shards))}
    assert [outcomes[s.path].is_done for s in shards] == [True, False, True]
    fault = outcomes["s1.tar"].fault
    assert fault is not None
    assert "s1.tar" in fault.message


def test_leaving_early_stops_every_thread_and_leaves_no_partial_part(tmp_path: Path) -> None:
    before = threading.active_count()
    worker = ShardWorker(worker_settings(tmp_path / "out", ReadRules()), FakeCodec())
    outcomes = worker.run(iter(shards_of(tmp_path, 4)))
    first = next(outcomes)
    assert isinstance(outcomes, Generator)
    outcomes.close()
    assert threading.active_count() == before
    parts = {p.stem for p in tmp_path.glob("out/tokens/*")}
    manifests = {p.name.split(".")[0] for p in tmp_path.glob("out/manifests/*")}
    assert first.shard.stem in manifests <= parts


@pytest.mark.parametrize("mark", [ABORT, HANG])
def test_a_clip_that_kills_its_decoder_is_one_reject_in_isolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: bytes
) -> None:
    monkeypatch.setattr(decode_child, "HANG_SECONDS", 3.0)
    members = [*pair("a"), ("bad.mp3", mark), *pair("b", seed=2), ("c.mp3", b"text")]
    tar = write_shard(tmp_path / "in/s.tar", members)
    (shard,) = list_shards([str(tar)], Storage(), root=str(tmp_path / "in"))
    rules = ReadRules(decoder="tests.support.faulty_codecs:decode_or_abort")
    isolated = replace(shard, isolate_decoding=True)
    result = run_shards([isolated], tmp_path / "out", rules, tuning=Tuning(1))["s.tar"]
    assert result.keys == ["a", "b"]
    assert result.reasons == {"bad": "crashed_decoder", "c": "undecodable"}


def test_isolated_decoding_changes_no_byte(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 1)
    run_shards(shards, tmp_path / "one")
    isolated = [replace(shard, isolate_decoding=True) for shard in shards]
    run_shards(isolated, tmp_path / "two", tuning=Tuning(1))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_an_account_that_does_not_balance_is_never_committed(tmp_path: Path) -> None:
    result = run_shards(shards_of(tmp_path, 1), tmp_path / "out")["s0.tar"]
    with pytest.raises(OutputError, match="of 6 clips"):
        replace(result.manifest, codes=5).check_balance()


def test_more_audio_than_the_queues_hold_flows_through(tmp_path: Path) -> None:
    members = [m for n in range(12) for m in pair(f"k{n:02d}", 3.0, seed=n % 3)]
    tar = write_shard(tmp_path / "s.tar", members)
    shards = list_shards([str(tar)], Storage(), root=str(tmp_path))
    tiny = Tuning(2, ahead_seconds=2.0, ahead_bytes=1000)
    assert len(run_shards(shards, tmp_path / "out", tuning=tiny)["s.tar"].rows) == 12


def test_a_long_clip_is_resampled_in_blocks_to_the_same_bits() -> None:
    from pipeline.corpus.decode import BLOCK_SECONDS, ClipBounds, DecodedClip, decode_clip
    from xy_codec.audio import mono, resample

    for rate in (24000, 44100, 16000, 22050):
        payload = audio(BLOCK_SECONDS * 4 + 7.77, kind="flac", rate=rate)
        clip = decode_clip(payload, 16000, ClipBounds())
        assert isinstance(clip, DecodedClip)
        import io

        import soundfile

        samples = soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)[0]
        assert np.array_equal(clip.waveform, resample(mono(samples), rate, 16000))
        assert clip.num_samples == len(samples)
