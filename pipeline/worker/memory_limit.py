"""The memory limit of a worker: how much may lie between two of its threads, in bytes or seconds.

The reading thread waits here before it takes more audio bytes, the decoding threads before they
take more seconds of samples. `worker.py` makes both limits from `Tuning`.
"""

import threading


class StoppedError(Exception):
    """Raised in threads that wait while the worker stops, so that they end."""


class MemoryLimit:
    """Admits amounts up to a capacity; a larger amount is admitted when nothing else is held."""

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
        """Give back an amount that was acquired."""
        with self._changed:
            self._used -= amount
            # Float sums drift, but `acquire` compares with 0 to see that nothing is held.
            self._used = 0.0 if self._used < 1e-6 else self._used
            self._changed.notify_all()

    def stop(self) -> None:
        """Raise `StoppedError` in every thread that waits now or asks later."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
