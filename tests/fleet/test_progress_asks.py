"""Few workers are asked every second, many less often, and never more than the driver can take."""

from collections import Counter

from pipeline.fleet.progress_asks import ProgressAsks


class Clock:
    """Time that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def asks_in_a_minute(num_workers: int, *, answer: bool = True) -> list[Counter[str]]:
    """Whom a driver asks in each second of a minute, when it looks four times a second."""
    clock = Clock()
    asks = ProgressAsks(1.0, clock)
    workers = [f"w{number}" for number in range(num_workers)]
    seconds = []
    for _ in range(60):
        asked: Counter[str] = Counter()
        for _ in range(4):
            if asks.is_due:
                asked.update(asks.take(workers))
            clock.now += 0.25
        if answer:
            for worker in asked:
                asks.note_answer(worker)
        seconds.append(asked)
    return seconds


def each_worker_in_a_minute(num_workers: int) -> set[int]:
    return set(sum(asks_in_a_minute(num_workers), Counter()).values())


def test_few_workers_are_asked_every_second() -> None:
    assert each_worker_in_a_minute(1) == {60}
    assert each_worker_in_a_minute(40) == {60}


def test_many_workers_are_asked_every_10_to_15_seconds() -> None:
    assert each_worker_in_a_minute(500) == {6}
    assert each_worker_in_a_minute(1000) <= {4, 5}


def test_the_driver_is_never_asked_for_more_than_100_answers_a_second() -> None:
    for num_workers in (500, 5000):
        assert max(asked.total() for asked in asks_in_a_minute(num_workers)) <= 100 + 25


def test_nobody_is_asked_again_before_an_answer() -> None:
    assert sum(asks_in_a_minute(3, answer=False), Counter()) == {"w0": 1, "w1": 1, "w2": 1}
