"""Who hangs is told by silence while busy, and by nothing else."""

from pipeline.fleet.hang_watch import HangWatch


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def hung_after(answers: list[int | None], *, pause: float = 10.0) -> list[str]:
    """Whoever hangs when worker `a` gives these answers, one a look."""
    clock = Clock()
    watch = HangWatch(100.0, clock)
    for answer in answers:
        clock.now += pause
        assert watch.is_due
        hung = watch.look(["a"])
        if hung:
            return hung
        if answer is not None:
            watch.note("a", answer)
    return []


def test_a_worker_whose_count_grows_does_not_hang() -> None:
    assert hung_after(list(range(50))) == []


def test_a_count_that_stands_still_or_no_answer_is_a_hang() -> None:
    assert hung_after([7] * 13) == ["a"]
    assert hung_after([None] * 13) == ["a"]
    assert hung_after([7] * 10) == []


def test_a_driver_that_was_stopped_blames_nobody() -> None:
    assert hung_after([1, 2, 2], pause=10_000.0) == []


def test_a_worker_without_shards_is_not_watched() -> None:
    clock = Clock()
    watch = HangWatch(100.0, clock)
    for number in range(40):
        clock.now += 10.0
        assert not watch.look(["a"] if number % 8 else [])
