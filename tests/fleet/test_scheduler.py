"""The scheduler hands every shard out until it ended, and blames none without proof."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fleet.quarantine import Loss, QuarantinePolicy, Verdict
from pipeline.fleet.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Sack:
    path: str
    size_bytes: int


def sacks(*sizes: int) -> list[Sack]:
    return [Sack(f"s{index}", size) for index, size in enumerate(sizes)]


def scheduler_with(workers: int, *sizes: int) -> Scheduler[Sack]:
    scheduler = Scheduler(sacks(*sizes))
    for index in range(workers):
        scheduler.add_worker(f"w{index}")
    return scheduler


def taken(scheduler: Scheduler[Sack], worker: str) -> str | None:
    assignment = scheduler.take(worker)
    return assignment.shard.path if assignment else None


def test_largest_shards_go_first() -> None:
    scheduler = scheduler_with(3, 5, 9, 7)
    assert [taken(scheduler, f"w{i}") for i in range(3)] == ["s1", "s2", "s0"]


def test_a_busy_worker_gets_one_more_shard_ahead() -> None:
    scheduler = scheduler_with(1, 3, 2, 1)
    assert [taken(scheduler, "w0") for _ in range(3)] == ["s0", "s1", None]


def test_near_the_end_shards_are_kept_for_free_workers() -> None:
    scheduler = scheduler_with(2, 3, 2)
    assert taken(scheduler, "w0") == "s0"
    assert taken(scheduler, "w0") is None
    assert taken(scheduler, "w1") == "s1"


def test_a_worker_that_gave_a_shard_back_gets_no_other_one() -> None:
    scheduler = scheduler_with(1, 4, 3, 2, 1)
    assert [taken(scheduler, "w0"), taken(scheduler, "w0")] == ["s0", "s1"]
    scheduler.give_back("w0", "s1")
    assert taken(scheduler, "w0") is None
    assert not scheduler.is_drained("w0")
    scheduler.finish("w0", "s0")
    assert taken(scheduler, "w0") is None
    assert scheduler.is_drained("w0")
    scheduler.add_worker("w1")
    assert taken(scheduler, "w1") == "s1"


def test_a_lost_node_blames_no_shard() -> None:
    scheduler = scheduler_with(1, 3)
    for round_number in range(20):
        scheduler.add_worker(f"n{round_number}")
        assert taken(scheduler, f"n{round_number}") == "s0"
        assert scheduler.lose(f"n{round_number}", Loss.NODE_LOST) == [
            (Sack("s0", 3), Verdict.AGAIN)
        ]


def test_a_death_with_two_shards_in_hand_gives_no_strike_but_a_trial_alone() -> None:
    scheduler = scheduler_with(1, 3, 2, 1)
    assert [taken(scheduler, "w0"), taken(scheduler, "w0")] == ["s0", "s1"]
    verdicts = [verdict for _, verdict in scheduler.lose("w0", Loss.DIED)]
    assert verdicts == [Verdict.SUSPECTED, Verdict.SUSPECTED]
    scheduler.add_worker("w1")
    assert taken(scheduler, "w1") in ("s0", "s1")
    assert taken(scheduler, "w1") is None


def test_suspects_go_to_the_next_worker_that_is_empty() -> None:
    scheduler = scheduler_with(2, 9, 8, 7, 6, 5, 4)
    taken(scheduler, "w0")
    assert taken(scheduler, "w1") == "s1"
    scheduler.lose("w0", Loss.DIED)
    assert taken(scheduler, "w1") is None
    scheduler.finish("w1", "s1")
    assert taken(scheduler, "w1") == "s0"


def test_strikes_isolate_first_and_quarantine_last() -> None:
    scheduler = scheduler_with(0, 3)
    isolated, verdicts = [], []
    for name in "abcd":
        scheduler.add_worker(name)
        assignment = scheduler.take(name)
        assert assignment is not None
        isolated.append(assignment.isolated)
        verdicts += [verdict for _, verdict in scheduler.lose(name, Loss.DIED)]
    assert isolated == [False, False, True, True]
    assert verdicts[-1] is Verdict.QUARANTINED
    assert scheduler.num_left == 0


def test_a_shard_that_fails_too_often_is_named_and_left() -> None:
    scheduler = scheduler_with(1, 3)
    taken(scheduler, "w0")
    assert scheduler.fail("w0", "s0") is Verdict.AGAIN
    taken(scheduler, "w0")
    assert scheduler.fail("w0", "s0") is Verdict.FAILED
    assert [shard.path for shard in scheduler.failed] == ["s0"]


class Simulation:
    """Random workers that come, work, fail and die; some shards kill every worker."""

    def __init__(self, sizes: list[int], killers: set[str], script: list[tuple[int, int]]) -> None:
        self.scheduler = Scheduler(sacks(*sizes), QuarantinePolicy())
        self.killers, self.script = killers, script
        self.holders: dict[str, str] = {}
        self.alive: list[str] = []
        self.count = 0

    def add_worker(self) -> None:
        self.alive.append(f"w{self.count}")
        self.scheduler.add_worker(self.alive[-1])
        self.count += 1

    def take(self, worker: str) -> None:
        assignment = self.scheduler.take(worker)
        if assignment:
            path = assignment.shard.path
            assert path not in self.holders, "handed to two workers at once"
            self.holders[path] = worker

    def lose(self, worker: str, loss: Loss) -> None:
        self.alive.remove(worker)
        held = [path for path, holder in self.holders.items() if holder == worker]
        verdicts = self.scheduler.lose(worker, loss)
        assert sorted(shard.path for shard, _ in verdicts) == sorted(held)
        if loss is not Loss.DIED:
            assert {verdict for _, verdict in verdicts} <= {Verdict.AGAIN}
        for path in held:
            del self.holders[path]

    def work(self, worker: str) -> None:
        shards = self.scheduler.in_hand(worker)
        if any(shard.path in self.killers for shard in shards):
            self.lose(worker, Loss.DIED)
        elif shards:
            self.scheduler.finish(worker, shards[0].path)
            del self.holders[shards[0].path]

    def step(self, action: int, which: int) -> None:
        if action == 0 or not self.alive:
            return self.add_worker()
        worker = self.alive[which % len(self.alive)]
        if action == 1:
            return self.lose(worker, Loss.NODE_LOST)
        return self.take(worker) if action in (2, 3) else self.work(worker)

    def run(self) -> None:
        for action, which in self.script:
            self.step(action, which)
        while self.scheduler.num_left:
            if not self.alive:
                self.add_worker()
            for worker in list(self.alive):
                self.take(worker)
                self.work(worker)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=12),
    killers=st.sets(st.integers(0, 11)),
    script=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=60),
)
def test_every_shard_ends_once_and_only_killers_are_quarantined(
    sizes: list[int], killers: set[int], script: list[tuple[int, int]]
) -> None:
    bad = {f"s{index}" for index in killers if index < len(sizes)}
    simulation = Simulation(sizes, bad, script)
    simulation.run()
    everything = {f"s{index}" for index in range(len(sizes))}
    assert {shard.path for shard in simulation.scheduler.quarantined} == bad
    assert sorted(simulation.scheduler.done) == sorted(everything - bad)
