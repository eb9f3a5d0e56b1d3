"""A bound on what is under way, in bytes or seconds, shared by the threads of a worker."""

import threading


class StoppedError(Exception):
    """The worker is stopping; threads unwind by it."""


class InFlightLimit:
    """Admits amounts up to a capacity; one that is larger than the capacity waits to be alone."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._used = 0.0
        self._is_stopped = False
        self._changed = threading.Condition()

    def acquire(self, amount: float) -> None:
        """Wait until `amount` fits."""
        with self._changed:
            while self._used > 0 and self._used + amount > self._capacity:
                if self._is_stopped:
                    raise StoppedError
                self._changed.wait()
            if self._is_stopped:
                raise StoppedError
            self._used += amount

    def release(self, amount: float) -> None:
        """Give an acquired amount back."""
        with self._changed:
            self._used -= amount
            # Float sums drift; nothing under way is exactly nothing.
            self._used = 0.0 if self._used < 1e-6 else self._used
            self._changed.notify_all()

    def stop(self) -> None:
        """Let everyone who waits, or comes later, unwind."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
