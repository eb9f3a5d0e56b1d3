"""`xytok status --watch` tells from the output alone how far a run is, until it ends."""

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import cli, status_job
from pipeline.fleet import progress_event
from pipeline.fleet.live_progress import LiveProgress, RunProgress, WorkerLine
from pipeline.fleet.progress_event import ProgressEvents, event_fields, read_progress, worker_fields
from pipeline.inspect.live_status import read_live_status
from pipeline.output.events import EventLog, read_events
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.support.ray_runs import wait_for
from tests.support.shard_maker import pairs, write_shard
from xy_codec.contract import Encoded, Tag, Waveform
from xy_codec.fake import FakeCodec

STORAGE = Storage()


def progress_of(num_workers: int) -> RunProgress:
    shard = "EN/2024-08-31/a-very-long-folder-name/EN_B00042.tar"
    lines = (
        WorkerLine(f"worker-{n}", "0123456789abcdef" * 3, shard, 16_000 + n, 1234.5, "encode", n)
        for n in range(num_workers)
    )
    empty = LiveProgress(()).read({}, {}, nodes_aside=0, outage_seconds=0.0)
    return RunProgress(
        **{name: getattr(empty, name) for name in RunProgress.__slots__ if name != "lines"},
        lines=tuple(lines),
    )


def test_an_event_tells_all_that_a_run_shows() -> None:
    told = progress_of(2)
    again = read_progress(json.loads(json.dumps(event_fields(told) | worker_fields(told))))
    assert (again.counts, again.workers, again.work_total) == (told.counts, 0, 0)
    assert [line.worker for line in again.lines] == ["worker-1", "worker-0"]
    assert again.lines[0].shard == "EN/2024-08-31/a-very-long-folder-name/EN_B00042.tar"[-36:]
    assert (again.lines[0].clips, again.lines[0].last_stage) == (16_001, "encode")


@pytest.mark.parametrize("num_workers", [1000, 5000])
def test_an_event_of_many_workers_stays_below_100_kb(num_workers: int) -> None:
    told = progress_of(num_workers)
    assert len(json.dumps(event_fields(told))) < 1_000
    assert len(json.dumps(worker_fields(told))) < 100_000


class GatedCodec(FakeCodec):
    """Stops after ten clips until a test opens it."""

    gate = threading.Event()

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        for number, each in enumerate(super().encode_stream(clips)):
            if number >= 10:
                assert self.gate.wait(60)
            yield each


def test_watching_shows_what_is_in_hand_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in/a.tar", pairs(20, 0.5))
    output = tmp_path / "out"
    monkeypatch.setattr(CodecRequest, "load", lambda _: GatedCodec())
    monkeypatch.setattr(progress_event, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(progress_event, "_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(status_job, "_WATCH_SECONDS", 0.2)
    GatedCodec.gate.clear()
    words = ["tokenize", str(tmp_path / "in"), str(output), "--codec", "fake"]
    words += ["--engine", "inline", "--quiet"]
    run = threading.Thread(target=cli.run, args=(words,))
    run.start()

    def clips() -> int:
        live = read_live_status(str(output), STORAGE).progress
        return live.counts.codes if live else 0

    wait_for(lambda: clips() == 10, "ten clips of a shard in hand")
    watching = threading.Thread(target=cli.run, args=(["status", str(output), "--watch"],))
    watching.start()
    live = read_live_status(str(output), STORAGE)
    first, second, worker = live.lines(5)
    assert "0/1 shards, 0.00 h, " in first
    assert re.search(r"told \d s ago", first)
    assert second == "1 worker, 1 shard in hand, 0 failed, 0 nodes set aside"
    assert worker.split()[0] == "worker-0"
    assert "a.tar" in worker
    assert "10 clips" in worker
    time.sleep(0.3)
    GatedCodec.gate.set()
    for thread in (run, watching):
        thread.join(60)
        assert not thread.is_alive()
    shown = capsys.readouterr().out
    assert "0/1 shards, 0.00 h, " in shown
    assert "shards    1 done, 0 left" in shown
    assert read_live_status(str(output), STORAGE).has_ended


def test_only_the_latest_event_has_a_line_for_each_worker(tmp_path: Path) -> None:
    log = EventLog(STORAGE, str(tmp_path))
    log.write("run_started", shards=1)
    events = ProgressEvents(log)
    for seconds in (100.0, 200.0):
        events.show(replace(progress_of(3), seconds=seconds))
    log.close()
    told = [each for each in read_events(STORAGE, str(tmp_path)) if each["event"] == "progress"]
    assert [each["seconds"] for each in told] == [100.0, 200.0]
    assert not any("lines" in each for each in told)
    live = read_live_status(str(tmp_path), STORAGE)
    assert live.progress is not None
    assert (live.progress.seconds, len(live.progress.lines)) == (200.0, 3)
    # The next run does not show the workers of this one.
    log = EventLog(STORAGE, str(tmp_path))
    log.write("run_started", shards=1)
    log.close()
    assert read_live_status(str(tmp_path), STORAGE).progress is None


def test_a_run_that_told_nothing_for_long_is_in_doubt(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    log = EventLog(STORAGE, str(tmp_path))
    log.write("run_started", shards=1)
    log.close()
    assert read_live_status(str(tmp_path), STORAGE).lines(9) == ["no progress was told yet"]
    log = EventLog(STORAGE, str(tmp_path))
    log.write("progress", **event_fields(progress_of(3)), **worker_fields(progress_of(3)))
    log.close()
    (text,) = (each for each in (tmp_path / "events").iterdir() if "progress" in each.read_text())
    lines = [json.loads(line) for line in text.read_text().splitlines()]
    lines[-1]["time"] -= 600
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))
    live = read_live_status(str(tmp_path), STORAGE)
    assert live.summary().endswith("told 600 s ago; its driver may be gone")
    assert live.lines(2)[-1] == "and 1 more worker"
