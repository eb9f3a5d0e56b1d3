"""The lease of an output: who may take it, who keeps it, and who learns that it is gone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import LeaseError, StorageError
from pipeline.fleet.job_id import current_job
from pipeline.fleet.lease import Holder, Lease
from pipeline.storage.client import Storage
from tests.support.ray_runs import wait_for
from tests.support.s3_server import S3Server

HOLDERS = {
    name: Holder(f"host-{name}", f"boot-{name}", 1, "7", "2026-01-01T00:00:00Z", None, name)
    for name in "ab"
}


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class BadStorage(Storage):
    """A disk that can be down, lose the answers to what it did, or be slow."""

    faults: frozenset[str] | set[str] = frozenset()
    clock: Clock = field(default_factory=Clock)

    def list_files(self, folder):
        if "down" in self.faults:
            raise StorageError("down")
        return super().list_files(folder)

    def write_finished(self, url, content):
        super().write_finished(url, content)
        if "slow" in self.faults:
            self.clock.now += 50

    def create_exclusive(self, url, content):
        created = super().create_exclusive(url, content)
        if "no answer" in self.faults:
            raise StorageError("no answer")
        return created


HOLD = """
import sys, time
from pipeline.fleet.lease import Holder, Lease
from pipeline.storage.client import Storage
print(int(Lease(Storage(), sys.argv[1], time.monotonic, Holder.here()).try_take()), flush=True)
sys.stdin.readline()
"""
RACE = """
import sys, time
from pipeline.fleet.lease import Holder, Lease
from pipeline.storage.client import Storage
storage = Storage()
storage.list_files(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(30):
    lease = Lease(storage, f"{sys.argv[1]}/{n}", time.monotonic, Holder.here())
    print(int(lease.try_take()), flush=True)
# The lease of a process that has ended would be free.
sys.stdin.readline()
"""


def started(script: str, place: str, **environment: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-c", script, place],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_of(output: Path, clock: Clock, name: str, storage: Storage | None = None) -> Lease:
    return Lease(storage or Storage(), str(output), clock, HOLDERS[name])


def numbers(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "lease").iterdir())


def watch(lease: Lease, clock: Clock, seconds: float) -> Iterator[bool]:
    for _ in range(int(seconds)):
        yield lease.try_take()
        clock.now += 1


def test_a_lease_that_is_renewed_is_never_taken(tmp_path, clock):
    first, second = (lease_of(tmp_path, clock, name) for name in "ab")
    assert first.try_take()
    for _ in range(20):
        first.renew()
        assert not any(watch(second, clock, 15))
        assert first.may_go_on()
    assert second.is_rival_alive
    assert second.rival == HOLDERS["a"]


def test_a_silent_lease_is_taken_after_60_seconds_of_the_waiters_clock(tmp_path, clock):
    first, second = (lease_of(tmp_path, clock, name) for name in "ab")
    assert first.try_take()
    clock.now += 1000
    assert not any(watch(second, clock, 60))
    assert not second.is_rival_alive
    assert second.try_take()
    assert second.may_go_on()


def test_who_lost_the_lease_learns_it_and_stays_stopped(tmp_path, clock):
    first, second = (lease_of(tmp_path, clock, name) for name in "ab")
    assert first.try_take()
    clock.now += 46
    assert not first.may_go_on()
    assert any(watch(second, clock, 70))
    with pytest.raises(LeaseError, match=r"taken over by process 1 on `host-b`"):
        first.renew()
    with pytest.raises(LeaseError):
        first.may_go_on()
    assert first.is_lost
    first.release()
    second.renew()
    assert numbers(tmp_path) == ["2.json"]


def test_a_released_lease_is_taken_at_once(tmp_path, clock):
    first, second = (lease_of(tmp_path, clock, name) for name in "ab")
    assert first.try_take()
    first.release()
    assert not first.may_go_on()
    assert second.try_take()
    assert numbers(tmp_path) == ["2.json"]


def test_a_lease_file_that_somebody_else_wrote_is_lost(tmp_path, clock):
    first = lease_of(tmp_path, clock, "a")
    assert first.try_take()
    (tmp_path / "lease/1.json").write_text("{}")
    with pytest.raises(LeaseError, match="by another run"):
        first.renew()


def test_a_lease_file_that_is_gone_is_lost(tmp_path, clock):
    first = lease_of(tmp_path, clock, "a")
    assert first.try_take()
    (tmp_path / "lease/1.json").unlink()
    with pytest.raises(LeaseError):
        first.renew()


def test_an_outage_stops_the_work_but_loses_no_lease(tmp_path, clock):
    faults: set[str] = set()
    first = lease_of(tmp_path, clock, "a", BadStorage(faults=faults))
    assert first.try_take()
    faults.add("down")
    for _ in range(20):
        clock.now += 15
        with pytest.raises(StorageError):
            first.renew()
        assert first.may_go_on() == (clock.now < 45)
    faults.clear()
    first.renew()
    assert first.may_go_on()
    # Only a new number proves that nobody else took over.
    assert numbers(tmp_path) == ["2.json"]


def test_a_renewal_that_took_too_long_proves_nothing(tmp_path, clock):
    faults: set[str] = set()
    first = lease_of(tmp_path, clock, "a", BadStorage(faults=faults, clock=clock))
    assert first.try_take()
    faults.add("slow")
    first.renew()
    assert numbers(tmp_path) == ["2.json"]


@pytest.mark.parametrize("is_holder", [True, False])
def test_a_number_whose_creation_got_no_answer_is_ours(is_holder, tmp_path, clock):
    faults: set[str] = set()
    first = lease_of(tmp_path, clock, "a", BadStorage(faults=faults))
    if is_holder:
        assert first.try_take()
        clock.now += 100
    faults.add("no answer")
    with pytest.raises(StorageError):
        first.renew() if is_holder else first.try_take()
    faults.clear()
    if not is_holder:
        assert first.try_take()
    first.renew()
    assert first.may_go_on()


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path, clock):
    with started(HOLD, str(tmp_path)) as child:
        assert child.stdout.readline() == "1\n"
        second = lease_of(tmp_path, clock, "b")
        assert not second.try_take()
        child.kill()
        # Not waited for: it stays a zombie, as below a parent that does not care.
        assert wait_for(second.try_take, "the lease", 10)


def test_a_process_with_the_same_id_is_another_one_when_it_started_later(tmp_path):
    here = Holder.here()
    assert not here.is_dead()
    assert replace(here, process_start="1").is_dead()
    assert not replace(here, process_start="1", machine="elsewhere").is_dead()


def test_the_file_names_host_process_and_job(tmp_path, clock, monkeypatch):
    config = {"metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(config))
    assert Lease(Storage(), str(tmp_path), clock, Holder.here()).try_take()
    told = json.loads((tmp_path / "lease/1.json").read_text())
    assert told["job"] == "raysubmit_1"
    assert {"host", "machine", "pid", "process_start", "since", "nonce"} < set(told)


def test_a_slurm_job_is_named_by_its_number(monkeypatch):
    assert current_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert current_job() == "slurm-12"


@pytest.mark.slow
def test_of_two_processes_that_race_on_s3_one_gets_the_lease(s3: S3Server):
    Storage({"s3": s3.storage_options()}).filesystem("s3://race")[0].mkdir("race")
    racers = [started(RACE, "s3://race/out", **s3.environment()) for _ in range(2)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    taken = [[racer.stdout.readline().strip() for _ in range(30)] for racer in racers]
    for racer in racers:
        racer.communicate("\n", timeout=120)
    assert [sorted(pair) for pair in zip(*taken, strict=True)] == [["0", "1"]] * 30
