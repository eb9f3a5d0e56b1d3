"""The event log: numbered files, each written once, and never a reason to end a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.output import events
from pipeline.output.events import EventLog, read_events
from pipeline.storage.client import Storage
from tests.support.ray_runs import wait_for

LAST = 1e9  # seconds between two files: only `close` writes one


@dataclass(frozen=True)
class Down(Storage):
    """A disk that cannot be written while it is "down", or writes and says that it failed."""

    faults: set[str] = field(default_factory=set)

    def write_finished(self, url: str, content: bytes | Path) -> None:
        if "down" in self.faults:
            raise StorageError("no space left")
        super().write_finished(url, content)
        if "lost" in self.faults:
            raise StorageError("no answer")


def logs(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "events").glob("*.jsonl"))


def numbers_in(output: Path) -> list[int]:
    return [event["n"] for event in read_events(Storage(), str(output)) if "n" in event]


def written_at(output: Path) -> dict[str, int]:
    return {name: (output / "events" / name).stat().st_mtime_ns for name in logs(output)}


def when(condition: Callable[[], object]) -> None:
    wait_for(condition, "the events", 20)


def test_every_file_is_written_once_and_all_are_read_in_order(tmp_path: Path) -> None:
    log = EventLog(Storage(), str(tmp_path), write_seconds=0.01)
    for n in range(11):
        log.write("tick", n=n)
        when(lambda: len(logs(tmp_path)) == n + 1)  # noqa: B023 -- called at once
    before = written_at(tmp_path)
    log.write("tick", n=11)
    log.close()
    assert before.items() < written_at(tmp_path).items()
    assert logs(tmp_path)[-1].endswith("-000012.jsonl")
    assert numbers_in(tmp_path) == list(range(12))


def test_storage_that_fails_ends_nothing_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Down(faults={"down"})
    log = EventLog(storage, str(tmp_path), write_seconds=0.01)
    log.write("tick", n=0)
    when(lambda: "no space left" in caplog.text)
    log.write("tick", n=1)
    storage.faults.clear()
    when(lambda: numbers_in(tmp_path) == [0, 1])
    log.close()
    assert numbers_in(tmp_path) == [0, 1]


def test_a_write_without_an_answer_makes_no_event_double(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Down(faults={"lost"})
    log = EventLog(storage, str(tmp_path), write_seconds=0.01)
    log.write("tick", n=0)
    when(lambda: "no answer" in caplog.text)
    storage.faults.clear()
    log.write("tick", n=1)
    log.close()
    assert numbers_in(tmp_path) == [0, 1]


def test_when_too_many_wait_the_oldest_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST_WAITING", 3)
    log = EventLog(Storage(), str(tmp_path), write_seconds=LAST)
    for n in range(5):
        log.write("tick", n=n)
    log.close()
    found = list(read_events(Storage(), str(tmp_path)))
    assert (found[0]["event"], found[0]["count"]) == ("events_dropped", 2)
    assert numbers_in(tmp_path) == [2, 3, 4]


def test_closing_waits_only_a_moment_for_storage_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "_CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(Storage, "write_finished", lambda *_: time.sleep(2))
    log = EventLog(Storage(), str(tmp_path), write_seconds=LAST)
    log.write("tick", n=0)
    log.close()
    assert "The last events were not written" in caplog.text


def test_logs_of_one_file_are_read_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "20200101T000000-host-7.jsonl").write_text('{"event": "tick", "n": 0}\n{"ev')
    log = EventLog(Storage(), str(tmp_path), write_seconds=LAST)
    log.write("tick", n=1)
    log.close()
    assert numbers_in(tmp_path) == [0, 1]
