"""Runs on a real Ray cluster of several nodes on this machine, and what they leave behind."""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.fleet.quarantine import QuarantinePolicy
from pipeline.fleet.ray.engine import RayEngine
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.fleet.scheduler import Scheduler
from pipeline.fleet.summary import RunSummary
from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from pipeline.worker.worker import ShardWorker
from tests.support.faulty_codecs import GATE
from tests.support.inline_run import worker_settings
from tests.support.places import ROOT
from tests.support.s3_server import free_ports
from tests.support.shard_maker import pairs, write_shard
from xy_codec.fake import FakeCodec

T = TypeVar("T")
Place = Path | str
LOCAL = Storage()
RULES = ReadRules(decoder="tests.support.faulty_codecs:decode_slowly")
# Ray refuses an object store below 75 MiB; nothing of ours goes through it.
NODE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 << 20}
FOLDERS = ("tokens", "rejects", "manifests")


@contextmanager
def ray_cluster_of(num_cpus: int, **head: Any) -> Iterator[Any]:
    """A private cluster with one node; ends with the block, whatever else runs on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    # Short, because sockets lie in it; private, because Ray keeps the last cluster's address there.
    folder = tempfile.mkdtemp(prefix="xr")
    os.environ |= {"RAY_TMPDIR": folder, GATE: f"{folder}/gate"}
    # Whatever else fills this machine's memory, only the tests shall kill workers.
    os.environ |= {"RAY_memory_monitor_refresh_ms": "0"}
    # By default workers give way to every other process of this machine and may hardly run.
    os.environ |= {"RAY_worker_niceness": "0"}  # Ray's own spelling
    # Decoders of the tests are named in the rules and imported by the workers.
    paths = [str(ROOT), before.get("PYTHONPATH", "")]
    # Submitted jobs run the `python` of the cluster's path.
    os.environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{before.get('PATH', '')}"}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if head.get("include_dashboard"):
        # Another cluster of this machine may have the usual ports.
        head |= {"dashboard_port": 0, "dashboard_agent_listen_port": free_ports(1)[0]}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, **NODE, **head})
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
    try:
        yield cluster
    finally:
        for run in list(RayRun.unfinished):
            run.end()
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ |= before
        shutil.rmtree(folder, ignore_errors=True)


def make_shards(folder: Path, num_shards: int, num_clips: int = 20) -> Path:
    for number in range(num_shards):
        write_shard(folder / f"{number:03d}.tar", pairs(num_clips, 0.4, prefix=f"s{number}-"))
    return folder


def snapshot(output: Place, storage: Storage = LOCAL) -> dict[str, bytes]:
    """Every byte that two equal runs must have in common; a kill may leave a temporary file."""
    root = str(output)
    urls = [each.url for name in FOLDERS for each in storage.list_files(join(root, name))]
    shown = (url for url in urls if not url.rpartition("/")[2].startswith("."))
    return {url.removeprefix(root): storage.read_bytes(url) for url in shown}


def undisturbed(inputs: Place, output: Path, storage: Storage = LOCAL) -> dict[str, bytes]:
    """The same shards through one worker in this process, without Ray."""
    settings = replace(worker_settings(output, RULES), storage=storage)
    shards = list_shards([str(inputs)], storage)
    assert all(o.is_done for o in ShardWorker(settings, FakeCodec()).run(iter(shards)))
    return snapshot(output)


def request_for(
    inputs: Place, output: Place, rules: ReadRules, storage: Storage = LOCAL
) -> RunRequest:
    return RunRequest((str(inputs),), str(output), rules, storage, Tuning(1), quiet=True)


class RayRun:
    """A run on its own thread, so that a test can disturb it meanwhile.

    One that a failed test leaves behind is ended before the cluster.
    """

    unfinished: ClassVar[set["RayRun"]] = set()

    def __init__(
        self,
        inputs: Place,
        output: Place,
        workers: int = 2,
        codec: CodecRequest | None = None,
        policy: QuarantinePolicy | None = None,
        rules: ReadRules = RULES,
        hang_minutes: float = 15.0,
        load_minutes: float = 30.0,
        storage: Storage = LOCAL,
    ) -> None:
        options = RayOptions(
            workers, cpus_per_worker=1, hang_minutes=hang_minutes, load_minutes=load_minutes
        )
        self.engine = RayEngine(codec or CodecRequest("fake"), options, policy)
        self.workers = workers
        self.request = request_for(inputs, output, rules, storage)
        self.summary: RunSummary | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.summary = run_tokenize(self.request, self.engine)
        except BaseException as error:
            self._error = error
        finally:
            self.engine.stop_workers()
            self.unfinished.discard(self)

    def start(self) -> "RayRun":
        self.unfinished.add(self)
        self._thread.start()
        return self

    def finish(self, timeout: float = 300.0) -> RunSummary:
        self._thread.join(timeout)
        if self._thread.is_alive():
            state = self._state()
            self.end()
            raise AssertionError(f"the run does not end: {state}")
        if self._error is not None:
            raise self._error
        assert self.summary is not None
        return self.summary

    def start_together(self) -> "RayRun":
        """Start, and let no clip be decoded before all workers are there."""
        gate = Path(os.environ[GATE])
        gate.touch()
        try:
            self.start()
            self._wait_for(lambda: len(self.worker_pids) == self.workers, "all workers")
        finally:
            gate.unlink()
        self._wait_for(self.num_done, "the first shard")
        return self

    def end(self) -> None:
        """End the run as Ctrl-C does in the main thread, so that it takes no CPU from others."""
        thread = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
        self._thread.join(60)

    def _wait_for(self, condition: Callable[[], T], what: str) -> T:
        try:
            return wait_for(condition, what)
        except AssertionError as error:
            state = self._state()
            self.end()
            raise AssertionError(f"{error}: {state}") from error

    def _state(self) -> str:
        """What is done, which worker has what in hand, and where the run's thread stands."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        lines = [f"{self.num_done()} shards are done, verdicts: {self.engine.verdicts}"]
        frames = [each for each, _ in traceback.walk_stack(frame)] if frame else []
        for scheduler in (each.f_locals.get("scheduler") for each in frames):
            if isinstance(scheduler, Scheduler):
                lines.append(f"{scheduler.num_left} left, {scheduler.num_in_hand} in hand")
                break
        return "\n".join(
            [*lines, *map(str, self.engine.worker_starts), *traceback.format_stack(frame)]
        )

    @property
    def worker_pids(self) -> list[int]:
        return [start.pid for start in list(self.engine.worker_starts)]

    def num_done(self) -> int:
        return len(list_manifests(self.request.storage, self.request.output))

    def kill_worker(self, sign: int = signal.SIGKILL) -> None:
        pids = self._wait_for(lambda: self.worker_pids, "a worker")
        # Between two reports it may have died already.
        with suppress(ProcessLookupError):
            os.kill(pids[-1], sign)


def wait_for(condition: Callable[[], T], what: str, timeout: float = 240.0) -> T:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout:.0f} s for {what}")
