"""A cluster that exists in virtual time only: the real driver runs shards on it, faults by a seed.

Simulated are workers, nodes, storage and the clock. Everything that decides is the real code:
driver, scheduler, quarantine, health of nodes, breaker, hang watch, summary.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import LeaseError, NotFoundError, PipelineError, RefusedError, StorageError
from pipeline.fleet.breaker import Probe, StorageBreaker
from pipeline.fleet.drain import Drain
from pipeline.fleet.driver import Driver
from pipeline.fleet.lease import RENEW_SECONDS, Holder, Lease, MayGoOn, always
from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.pool import Accepted, Gone, Loaded, Progress, Report, Returned, WorkerStart
from pipeline.fleet.quarantine import Loss
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.scheduler import MOST_IN_HAND
from pipeline.fleet.summary import RunSummary
from pipeline.fleet.worker_count import FleetSize, NodeSize
from pipeline.output.identity import build_identity
from pipeline.output.manifest import Manifest, WrittenFile
from pipeline.storage.client import Storage, StoredFile
from pipeline.worker.fault import Fault, Owner, fault_of
from pipeline.worker.progress import ClipCounts, ShardProgress, WorkerProgress
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.fake import FakeCodec

OUTPUT = "s3://out/run"
CPUS_PER_NODE = 4
# How long a worker tries storage by itself, and how long loading a codec takes.
TRY_SECONDS = 120.0
LOAD_SECONDS = 20.0
KINDS = ("kills", "breaks", "hangs", "gone", "refused", "unreadable")
_STORED: dict[str | None, PipelineError] = {
    "gone": NotFoundError("not there"),
    "refused": RefusedError("not allowed"),
    "unreadable": StorageError("failed 12 times"),
}
_NEVER = float("inf")


@dataclass
class Node:
    """A node with four workers; what is wrong with it never changes."""

    name: str
    platform: str
    speed: float
    ends_at: float = _NEVER
    notice_at: float = _NEVER
    is_broken: bool = False  # every shard ends its worker there
    has_full_disk: bool = False
    starts_fail: bool = False
    cut_off: tuple[float, float] = (_NEVER, _NEVER)  # from storage, alone
    bad_slot: int = -1  # one accelerator that breaks every worker


@dataclass
class Trouble:
    """What a seed brings, beside the nodes."""

    outages: list[tuple[float, float]] = field(default_factory=list)
    bad_shards: dict[str, str] = field(default_factory=dict)
    killed_share: float = 0.0  # of innocent workers, by Ray's memory monitor or by nobody's fault


@dataclass
class Worker:
    name: str
    node: Node
    slot: int
    hand: list[Shard] = field(default_factory=list)
    steps: int = 0
    began: float = 0.0
    lived: int = 0  # clips of the shards that it finished
    is_stuck: bool = False
    is_busy: bool = False
    is_gone: bool = False


class Cluster:
    """The pool of the driver, its clock and its storage."""

    def __init__(self, rng: random.Random, nodes: Sequence[Node], trouble: Trouble) -> None:
        self.rng, self.nodes, self.trouble = rng, list(nodes), trouble
        self.now = 0.0
        self.may_get_nodes = True
        self.starts: dict[str, WorkerStart] = {}
        self.submits: Counter[str] = Counter()
        self.committed: Counter[str] = Counter()
        self.begun: list[tuple[float, str]] = []
        self._workers: dict[str, Worker] = {}
        self._pending: list[tuple[str, set[str]]] = []
        self._events: list[tuple[float, int, Callable[[], Report | None]]] = []
        self._count = itertools.count()
        for node in nodes:
            if node.ends_at < _NEVER:
                self._at(node.ends_at, self._ended(node))

    def clock(self) -> float:
        return self.now

    @property
    def num_members(self) -> int:
        return len(self._workers) + len(self._pending)

    def live_nodes(self) -> Sequence[NodeSize]:
        return [
            NodeSize(n.name, CPUS_PER_NODE, 0, is_draining=n.notice_at <= self.now)
            for n in self.nodes
            if n.ends_at > self.now
        ]

    def grow(self, _size: FleetSize, count: int, avoided: Collection[str], /) -> None:
        for _ in range(count):
            self._pending.append((f"w{next(self._count)}", set(avoided)))
        self._place()

    def _place(self) -> None:
        left = []
        for name, avoided in self._pending:
            taken = Counter(w.node.name for w in self._workers.values())
            free = [
                node
                for node in self.nodes
                if node.name not in avoided
                and taken[node.name] < CPUS_PER_NODE
                and node.notice_at > self.now
            ]
            if not free:
                left.append((name, avoided))
                continue
            node = self.rng.choice(free)
            used = {w.slot for w in self._workers.values() if w.node is node}
            slot = min(set(range(CPUS_PER_NODE)) - used)
            worker = self._workers[name] = Worker(name, node, slot)
            self._at(self.now + LOAD_SECONDS * self.rng.uniform(0.5, 1.5), self._loads(worker))
        self._pending = left

    def submit(self, worker: str, _settings: WorkerSettings, shard: Shard) -> None:
        self.submits[shard.path] += 1
        mine = self._workers[worker]
        if mine.is_gone:
            self._at(self.now, lambda: Gone(worker, Loss.NODE_LOST, "unreachable"))
            return
        assert len(mine.hand) < MOST_IN_HAND, "too many shards for one worker"
        mine.hand.append(shard)
        self._at(self.now + 0.01, lambda: Accepted(worker, shard))
        if not mine.is_busy:
            self._begin(mine)

    def ask_progress(self, worker: str) -> None:
        mine = self._workers[worker]
        if not mine.is_stuck and not mine.is_gone:
            mine.steps += 1
            told = self._progress_of(mine)
            self._at(self.now + 0.01, lambda: Progress(worker, told))

    def _progress_of(self, worker: Worker) -> WorkerProgress:
        lived = _counts(worker.lived)
        if not worker.is_busy:
            return WorkerProgress(worker.steps, lived)
        shard = worker.hand[0]
        done = round((self.now - worker.began) * worker.node.speed / 10 * (1 << 20))
        done = min(done, shard.size_bytes)
        one = ShardProgress(shard.path, shard.size_bytes, done, done, _counts(done))
        return WorkerProgress(worker.steps, lived.plus(one.counts), done, (one,), "encode", 0.0)

    def next_report(self, timeout_seconds: float) -> Report | None:
        # Longer than the driver asks for, because most of its rounds find nothing to do.
        until = self.now + 5 * timeout_seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            report = event()
            if report is not None and report.worker in self._workers:
                return report
        self.now = until
        return None

    def retire(self, worker: str) -> None:
        self.starts.pop(worker, None)
        if worker in self._workers:
            self._workers.pop(worker).is_gone = True
        self._pending = [each for each in self._pending if each[0] != worker]
        self._place()

    def retire_pending(self, count: int, /) -> None:
        waiting = [n for n, _ in self._pending] + [n for n in self._workers if n not in self.starts]
        for worker in waiting[-count:]:
            self.retire(worker)

    def add_node(self, node: Node, at: float) -> None:
        def come() -> None:
            self.nodes.append(node)
            self._place()

        self._at(at, come)

    def probe(self, fault: Fault) -> "Future[Probe]":
        """What the driver sees; it is never cut off alone."""
        asked: Future[Probe] = Future()
        own = self.trouble.bad_shards.get(fault.url.removeprefix("s3://in/"))
        is_gone = own in _STORED
        is_out = self._outage_end(None) > self.now
        asked.set_result(
            Probe.OUTAGE if is_out else Probe.ONLY_OTHERS if is_gone else Probe.ANSWERS
        )
        return asked

    def _at(self, when: float, event: Callable[[], Report | None]) -> None:
        heapq.heappush(self._events, (when, next(self._count), event))

    def _outage_end(self, node: Node | None) -> float:
        """When storage answers again; now, where it does."""
        spans = [*self.trouble.outages, *([node.cut_off] if node else [])]
        return max((end for start, end in spans if start <= self.now < end), default=self.now)

    def _loads(self, worker: Worker) -> Callable[[], Report | None]:
        def load() -> Report | None:
            if worker.is_gone:
                return None
            node = worker.node
            if node.starts_fail:
                fault = Fault(Owner.WORKER, "CUDA driver is broken")
                return Loaded(worker.name, node.name, None, fault)
            identity = replace(FakeCodec().identity, platform=node.platform)
            place = f"{node.name}:{worker.slot}"
            start = WorkerStart(identity, node.name, place, 1, 0.1, 1.0)
            self.starts[worker.name] = start
            return Loaded(worker.name, node.name, start)

        return load

    def _ended(self, node: Node) -> Callable[[], Report | None]:
        def end() -> Report | None:
            self.nodes.remove(node)
            for worker in [w for w in self._workers.values() if w.node is node]:
                worker.is_gone = True
                # Nobody calls an idle worker, so nobody learns that it is gone.
                if worker.name in self.starts and not worker.hand:
                    continue
                report: Report = Gone(worker.name, Loss.NODE_LOST, "its node was lost")
                if worker.name not in self.starts:
                    fault = Fault(Owner.WORKER, "its node was lost")
                    report = Loaded(worker.name, node.name, None, fault)
                self._at(self.now + self.rng.uniform(0, 30), partial(_same, report))
            return None

        return end

    def _begin(self, worker: Worker) -> None:
        worker.is_busy, worker.began = True, self.now
        self.begun.append((self.now, worker.node.name))
        shard = worker.hand[0]
        end = self._outage_end(worker.node)
        if end - self.now > TRY_SECONDS:
            self._at(self.now + TRY_SECONDS, self._fails(worker, StorageError("no answer"), ""))
            return
        kind = self.trouble.bad_shards.get(shard.path)
        if kind in _STORED:
            self._at(end + 1, self._fails(worker, _STORED[kind], ""))
            return
        seconds = seconds_of(shard) / worker.node.speed * self.rng.uniform(0.9, 1.1)
        when = end + seconds
        is_bad = worker.node.is_broken or worker.slot == worker.node.bad_slot
        if kind == "hangs":
            self._at(end + seconds / 2, self._sticks(worker))
        elif kind == "kills" or worker.node.is_broken:
            self._at(end + seconds / 2, self._dies(worker, Loss.DIED))
        elif kind == "breaks" or is_bad:
            broke = Fault(Owner.WORKER, "CUDA error")
            self._at(end + seconds / 2, self._breaks(worker, broke))
        elif worker.node.has_full_disk:
            self._at(end + seconds / 2, self._breaks(worker, Fault(Owner.NODE, "disk full")))
        elif self.rng.random() < self.trouble.killed_share:
            loss = self.rng.choice([Loss.OUT_OF_MEMORY, Loss.DIED])
            self._at(end + seconds / 2, self._dies(worker, loss))
        else:
            self._at(when, self._writes(worker))

    def _writes(self, worker: Worker) -> Callable[[], Report | None]:
        def write() -> Report | None:
            end = self._outage_end(worker.node)
            if end - self.now > TRY_SECONDS:
                self._at(
                    self.now + TRY_SECONDS, self._fails(worker, StorageError("no answer"), OUTPUT)
                )
            else:
                self._at(end, self._finishes(worker))
            return None

        return write

    def _next(self, worker: Worker) -> Shard:
        shard = worker.hand.pop(0)
        worker.is_busy = False
        if worker.hand and not worker.is_gone:
            self._begin(worker)
        return shard

    def _finishes(self, worker: Worker) -> Callable[[], Report | None]:
        def finish() -> Report | None:
            # A worker that was given up may be alive: its late manifest has the same bytes.
            self.committed[worker.hand[0].path] += 1
            if worker.is_gone:
                return None
            worker.lived += worker.hand[0].size_bytes
            shard = self._next(worker)
            return Returned(worker.name, shard, ShardOutcome(shard, manifest_of(shard), 1.0))

        return finish

    def _fails(self, worker: Worker, error: PipelineError, url: str) -> Callable[[], Report | None]:
        def fail() -> Report | None:
            if worker.is_gone:
                return None
            shard = self._next(worker)
            outcome = ShardOutcome(shard, None, 1.0, fault_of(error, url or shard.url))
            return Returned(worker.name, shard, outcome)

        return fail

    def _dies(self, worker: Worker, loss: Loss) -> Callable[[], Report | None]:
        def die() -> Report | None:
            if worker.is_gone:
                return None
            worker.is_gone = True
            return Gone(worker.name, loss, "killed")

        return die

    def _breaks(self, worker: Worker, fault: Fault) -> Callable[[], Report | None]:
        def break_down() -> Report | None:
            if worker.is_gone:
                return None
            worker.is_gone = True
            shard = worker.hand[0]
            return Returned(worker.name, shard, ShardOutcome(shard, None, 1.0, fault))

        return break_down

    def _sticks(self, worker: Worker) -> Callable[[], Report | None]:
        def stick() -> Report | None:
            worker.is_stuck = True
            return None

        return stick


def _same(report: Report) -> Report:
    return report


def _counts(clips: int) -> ClipCounts:
    return ClipCounts(clips, 0, float(clips))


def manifest_of(shard: Shard) -> Manifest:
    """The manifest of a shard with a clip for every second of its size."""
    clips = shard.size_bytes
    part = WrittenFile(shard.part_path, 1, "", clips)
    rejects = WrittenFile(shard.reject_path, 1, "", 0)
    return Manifest(
        shard=shard.path,
        url=shard.url,
        source_size_bytes=shard.size_bytes,
        source_etag="",
        identity8="",
        members=clips,
        clips_seen=clips,
        codes=clips,
        rejects=0,
        filtered=0,
        frames=clips,
        samples=clips,
        source_seconds=float(clips),
        part=part,
        reject_file=rejects,
    )


@dataclass
class Result:
    """How a simulated run ended."""

    summary: RunSummary
    cluster: Cluster
    driver: Driver
    shards: list[Shard]
    error: PipelineError | None = None
    progress: list[RunProgress] = field(default_factory=list)


def run_simulation(cluster: Cluster, shards: list[Shard]) -> Result:
    """Run the shards to the end, or to the error that ends the run."""
    driver = driver_on(cluster)
    summary = RunSummary(len(shards), 0, sum(shard.size_bytes for shard in shards))
    result = Result(summary, cluster, driver, shards)
    try:
        for told in outcomes_of(driver, shards):
            if isinstance(told, ShardOutcome):
                summary.take(told)
            else:
                result.progress.append(replace(told, lines=()))
    except PipelineError as error:
        result.error = error
    return result


def driver_on(cluster: Cluster) -> Driver:
    """The real driver, on a cluster that is simulated."""
    options = RayOptions(cpus_per_worker=1)

    def breaker(
        _settings: WorkerSettings, _references: Callable[[str], list[str]]
    ) -> StorageBreaker[Shard]:
        return StorageBreaker(cluster.probe, options.outage_minutes * 60, cluster.clock)

    return Driver(cluster, options, breaker, clock=cluster.clock, ask_seconds=60.0)


def outcomes_of(
    driver: Driver, shards: Sequence[Shard], may_go_on: MayGoOn = always
) -> Iterator[ShardOutcome | RunProgress]:
    """What a resumed run yields: only workers of the platform of its output are used."""
    identity = build_identity(driver.identity({"platform": "A"}), ReadRules())
    settings = WorkerSettings(OUTPUT, identity, ReadRules(), Storage(), Tuning(1))
    yield from driver.run(settings, shards, Drain(), may_go_on)


class Bucket:
    """An object store in memory, as far as a lease needs one."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def create_exclusive(self, url: str, content: bytes) -> bool:
        return self._files.setdefault(url, content) == content

    def write_finished(self, url: str, content: bytes) -> None:
        self._files[url] = content

    def read_bytes(self, url: str) -> bytes:
        if url not in self._files:
            raise NotFoundError(url)
        return self._files[url]

    def list_files(self, folder: str) -> list[StoredFile]:
        return [StoredFile(url, 1, "") for url in self._files if url.startswith(folder)]

    def delete(self, url: str) -> None:
        self._files.pop(url, None)


class Rival:
    """Two drivers on one output: the first stalls, the second takes over, the first wakes up."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.shards = make_shards(self._rng, 80)
        self._bucket = cast(Storage, Bucket())
        self._clusters = [
            Cluster(
                random.Random(seed + n), [Node("n0", "A", 1.0), Node("n1", "A", 1.0)], Trouble()
            )
            for n in range(2)
        ]
        self.first_error: PipelineError | None = None
        self.submits_after_loss = 0

    @property
    def committed(self) -> set[str]:
        """Shards that have a manifest, whoever wrote it."""
        return {path for cluster in self._clusters for path in cluster.committed}

    def run(self) -> None:
        """Let the first driver work for a while, then the second one, then the first again."""
        first, second = self._clusters
        lease = self._lease(first, "first")
        assert lease.try_take()
        outcomes = outcomes_of(driver_on(first), self.shards, self._renewing(lease, first))
        for _ in range(self._rng.randint(1, 40)):
            next(outcomes)
        # The driver stands still; its workers finish what they have.
        second.now = first.now
        other = self._lease(second, "second")
        while not other.try_take():
            second.now += 1.0
        left = [shard for shard in self.shards if shard.path not in first.committed]
        rest = outcomes_of(driver_on(second), left, self._renewing(other, second))
        for _ in range(self._rng.randint(1, len(left))):
            next(rest)
        first.now, before = max(first.now, second.now), first.submits.total()
        try:
            list(outcomes)
        except PipelineError as error:
            self.first_error = error
        self.submits_after_loss = first.submits.total() - before
        list(rest)

    def _lease(self, cluster: Cluster, name: str) -> Lease:
        holder = Holder(name, "", 1, "", "", None, name)
        return Lease(self._bucket, OUTPUT, cluster.clock, holder)

    def _renewing(self, lease: Lease, cluster: Cluster) -> MayGoOn:
        """The thread that renews, as part of asking: it renews when 15 s are over."""
        renewed = cluster.now

        def may_go_on() -> bool:
            nonlocal renewed
            if cluster.now - renewed >= RENEW_SECONDS and not lease.is_lost:
                renewed = cluster.now
                with suppress(LeaseError):
                    lease.renew()
            return lease.may_go_on()

        return may_go_on


def make_shards(rng: random.Random, count: int) -> list[Shard]:
    """Shards whose sizes differ as those of real corpora do."""
    paths = (f"{number:06d}.tar" for number in range(count))
    return [Shard(f"s3://in/{path}", path, rng.randint(5, 60) << 20, "") for path in paths]


def seconds_of(shard: Shard) -> float:
    """How long a worker of speed 1 takes for a shard."""
    return 10 * shard.size_bytes / (1 << 20)


def world_of(
    nodes: list[Node], trouble: Trouble, count: int, seed: int = 0
) -> tuple[Cluster, list[Shard]]:
    """A cluster of these nodes alone."""
    rng = random.Random(seed)
    return Cluster(rng, nodes, trouble), make_shards(rng, count)


def world(seed: int, num_shards: int, num_workers: int) -> tuple[Cluster, list[Shard]]:
    """A cluster with the troubles of a seed; at least one node is sound and stays."""
    rng = random.Random(seed)
    shards = make_shards(rng, num_shards)
    seconds = sum(map(seconds_of, shards)) / num_workers
    nodes = [Node("n0", "A", 1.0)]
    nodes += [_node(rng, f"n{n}", seconds) for n in range(1, num_workers // CPUS_PER_NODE)]
    trouble = Trouble(killed_share=rng.choice([0.0, 0.0, 0.02]))
    for shard in rng.sample(shards, rng.choice([0, 0, 1, 3, num_shards // 20])):
        trouble.bad_shards[shard.path] = rng.choice(KINDS)
    for _ in range(rng.choice([0, 0, 1, 2])):
        start = rng.uniform(0, seconds)
        trouble.outages.append((start, start + rng.choice([30.0, 300.0, 1500.0])))
    cluster = Cluster(rng, nodes, trouble)
    for number in range(rng.choice([0, 0, 2])):
        cluster.add_node(Node(f"late{number}", "A", 1.0), rng.uniform(0, seconds))
    return cluster, shards


def _node(rng: random.Random, name: str, seconds: float) -> Node:
    node = Node(name, rng.choice("AAAB"), rng.choice([1.0, 1.0, 1.0, 0.3]))
    fate = rng.randrange(12)
    when = rng.uniform(0, seconds)
    if fate == 0:
        node.ends_at = when
    elif fate == 1:
        node.notice_at, node.ends_at = when, when + rng.choice([30.0, 120.0])
    elif fate == 2:
        node.is_broken = True
    elif fate == 3:
        node.has_full_disk = True
    elif fate == 4:
        node.starts_fail = True
    elif fate == 5:
        node.cut_off = (when, when + rng.choice([300.0, 1e9]))
    elif fate == 6:
        node.bad_slot = rng.randrange(CPUS_PER_NODE)
    return node


def failures(result: Result) -> Iterator[str]:
    """What is wrong with how a run ended; nothing for a right one."""
    trouble = result.cluster.trouble
    named = {url.rpartition("/")[2]: why for url, why in result.summary.failed}
    bad = set(trouble.bad_shards)
    if result.error is not None:
        yield f"the run ended although it could go on: {result.error}"
        return
    for path in sorted(set(named) - bad):
        yield f"{path} is innocent, but blamed: {named[path]}"
    for path in sorted(bad - set(named)):
        yield f"{path} {trouble.bad_shards[path]}, but is not named"
    everything = {shard.path for shard in result.shards}
    if lost := everything - bad - set(result.cluster.committed):
        yield f"{len(lost)} shards are said to be done, but have no manifest"
    if result.summary.done != len(everything - bad):
        yield f"{result.summary.done} shards are counted as done of {len(everything - bad)}"
    clips = sum(shard.size_bytes for shard in result.shards if shard.path not in bad)
    if result.summary.counts.clips != clips:
        yield f"{result.summary.counts.clips} clips are counted of {clips}"
    worst = max(result.cluster.submits.values())
    if worst > 60:
        yield f"a shard was handed out {worst} times"
