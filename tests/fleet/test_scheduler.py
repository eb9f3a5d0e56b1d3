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
    if assignment is None:
        return None
    scheduler.accept(worker, assignment.shard.path)
    return assignment.shard.path


def verdicts(scheduler: Scheduler[Sack], worker: str, loss: Loss) -> list[Verdict]:
    return [lost.verdict for lost in scheduler.lose(worker, loss)]


def scheduler_at(*places: str) -> Scheduler[Sack]:
    """One worker at each place, where a shard was finished; `last` is the only shard left."""
    scheduler = Scheduler([*sacks(*[9] * len(places)), Sack("last", 1)])
    for place in places:
        scheduler.add_worker(place, place)
        path = taken(scheduler, place)
        assert path is not None
        scheduler.finish(place, path)
    return scheduler


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
    assert scheduler.drained == []
    scheduler.finish("w0", "s0")
    assert taken(scheduler, "w0") is None
    assert scheduler.drained == ["w0"]
    scheduler.add_worker("w1")
    assert taken(scheduler, "w1") == "s1"


def test_a_lost_node_blames_no_shard() -> None:
    scheduler = scheduler_with(1, 3)
    for round_number in range(20):
        scheduler.add_worker(f"n{round_number}")
        assert taken(scheduler, f"n{round_number}") == "s0"
        assert verdicts(scheduler, f"n{round_number}", Loss.NODE_LOST) == [Verdict.AGAIN]


def test_a_death_with_two_shards_in_hand_gives_no_strike_but_a_trial_alone() -> None:
    scheduler = scheduler_with(1, 90 << 20, 80 << 20, 70 << 20, 1, 1)
    assert [taken(scheduler, "w0"), taken(scheduler, "w0")] == ["s0", "s1"]
    scheduler.finish("w0", "s0")
    assert taken(scheduler, "w0") == "s2"
    assert verdicts(scheduler, "w0", Loss.DIED) == [Verdict.SUSPECTED, Verdict.SUSPECTED]
    scheduler.add_worker("w1")
    assert taken(scheduler, "w1") in ("s1", "s2")
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
    scheduler = scheduler_at(*"abcd")
    isolated, told = [], []
    for name in "abcd":
        assignment = scheduler.take(name)
        assert assignment is not None
        scheduler.accept(name, "last")
        isolated.append(assignment.isolated)
        told += verdicts(scheduler, name, Loss.DIED)
    assert isolated == [False, False, True, True]
    assert told[-1] is Verdict.QUARANTINED
    assert scheduler.num_left == 0


def test_a_shard_that_storage_gives_to_no_node_is_named_and_left() -> None:
    nodes = [f"n{number}" for number in range(QuarantinePolicy().max_storage_faults)]
    scheduler = scheduler_at(*nodes)
    told = []
    for node in nodes:
        told.append(Verdict.AGAIN)
        for _ in range(3):  # one node alone may be cut off
            if told[-1] is Verdict.AGAIN:
                assert taken(scheduler, node) == "last"
                scheduler.hold(node, "last")
                told[-1] = scheduler.release("last", counts_at=node)
    assert told == [*[Verdict.AGAIN] * 4, Verdict.FAILED]
    assert [shard.path for shard in scheduler.failed] == ["last"]


def test_a_shard_on_which_three_nodes_fail_is_given_up() -> None:
    scheduler = scheduler_at(*"abc")
    told = []
    for node in "abc":
        assert taken(scheduler, node) == "last"
        told += verdicts(scheduler, node, Loss.NODE_FAULT)
    assert told == [Verdict.AGAIN, Verdict.AGAIN, Verdict.GIVEN_UP]


def test_small_shards_are_read_ahead_by_their_size() -> None:
    scheduler = scheduler_with(1, *[1] * 20)
    assert [taken(scheduler, "w0") is not None for _ in range(9)] == [*[True] * 8, False]
    large = scheduler_with(1, *[40 << 20] * 20)
    assert [taken(large, "w0") is not None for _ in range(3)] == [True, True, False]


def test_an_outage_counts_against_no_shard() -> None:
    scheduler = scheduler_with(1, 3)
    for _ in range(20):
        taken(scheduler, "w0")
        scheduler.hold("w0", "s0")
        assert scheduler.release("s0") is Verdict.AGAIN


def test_a_shard_that_breaks_workers_at_two_places_is_quarantined() -> None:
    scheduler = scheduler_at(*"ab")
    told = []
    for name in "ab":
        assert taken(scheduler, name) == "last"
        told += verdicts(scheduler, name, Loss.BROKE)
    assert told == [Verdict.SUSPECTED, Verdict.QUARANTINED]


def test_a_place_that_never_finished_a_shard_gives_no_strike() -> None:
    scheduler = Scheduler(sacks(9, 8), QuarantinePolicy(quarantine_at_strike=1))
    for number in range(9):
        scheduler.add_worker(f"w{number}", place="broken")
        assert taken(scheduler, f"w{number}") in ("s0", "s1")
        assert verdicts(scheduler, f"w{number}", Loss.DIED)[0] in (
            Verdict.SUSPECTED,
            Verdict.ISOLATED,
        )


def test_a_suspect_waits_for_a_place_that_did_not_lose_a_worker_to_it() -> None:
    scheduler = scheduler_at("one", "two")
    assert taken(scheduler, "one") == "last"
    scheduler.lose("one", Loss.DIED)
    scheduler.add_worker("next", place="one")
    assert taken(scheduler, "next") is None
    assert taken(scheduler, "two") == "last"


def test_a_worker_that_dies_before_it_takes_its_shard_blames_nobody() -> None:
    scheduler = scheduler_with(1, 3)
    assert scheduler.take("w0") is not None
    assert verdicts(scheduler, "w0", Loss.DIED) == [Verdict.AGAIN]


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
            self.scheduler.accept(worker, path)
            self.holders[path] = worker

    def lose(self, worker: str, loss: Loss) -> None:
        self.alive.remove(worker)
        held = [path for path, holder in self.holders.items() if holder == worker]
        lost = self.scheduler.lose(worker, loss)
        assert sorted(each.shard.path for each in lost) == sorted(held)
        if loss is not Loss.DIED:
            assert {each.verdict for each in lost} <= {Verdict.AGAIN}
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
    assert simulation.scheduler.num_done == len(everything - bad)
