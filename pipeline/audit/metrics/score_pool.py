"""Scores pairs on every core, in order of completion, and survives a metric that kills its process.

PESQ's reference code ends its process on some long recordings. The pairs that were under way when
a process died are scored again one by one; the one that kills again is scored without PESQ.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Generic, ParamSpec, TypeVar

from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.metrics.scores import RATE_HZ, USUAL_GROUPS, PairScores, score_pair
from pipeline.audit.metrics.speaker_similarity import SpeakerModel, load_speaker_model
from pipeline.errors import UsageError
from xy_codec.contract import Waveform

Tag = TypeVar("Tag", bound=Hashable)
T = TypeVar("T")
P = ParamSpec("P")
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Pairs under way for each process: one at work, one waiting, so that no core runs dry.
_DEPTH = 2
_speaker: SpeakerModel | None = None


@dataclass(frozen=True, slots=True)
class Pair(Generic[Tag]):
    """Two waveforms of one rate, and what the caller knows them by."""

    tag: Tag
    original: Waveform
    reconstruction: Waveform
    rate_hz: int = RATE_HZ


class ScorePool:
    """Processes that score pairs; use it as a context. None at all scores in this process."""

    def __init__(
        self,
        processes: int | None = None,
        groups: tuple[str, ...] = USUAL_GROUPS,
        sim_model: str | None = None,
    ) -> None:
        self._processes = (os.cpu_count() or 1) if processes is None else processes
        if self._processes < 0:
            raise UsageError(
                f"`--processes {self._processes}` is below 0; expected a number of processes, 0 "
                "to score in this one. Leave the option out for one a core."
            )
        self._groups = groups
        self._sim_model = sim_model if "sim" in groups else None
        # Loaded here as well, so that a wrong name is found before any work.
        self._model = load_speaker_model(self._sim_model) if self._sim_model else None
        self._executor = self._start(max(self._processes, 1))  # starts no process before work

    def __enter__(self) -> "ScorePool":
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    @property
    def sim_name(self) -> str:
        """The name SIM carries; empty where it is not asked for."""
        return self._model.name if self._model else ""

    def scores(self, pairs: Iterable[Pair[Tag]]) -> Iterator[tuple[Tag, PairScores]]:
        """Scores as they are ready; pairs are drawn only as fast as they are scored."""
        if self._processes == 0:
            yield from ((pair.tag, _score_with(pair, self._groups, self._model)) for pair in pairs)
            return
        source = iter(pairs)
        waiting: dict[Future[PairScores], Pair[Tag]] = {}
        exhausted = False
        while waiting or not exhausted:
            while not exhausted and len(waiting) < self._processes * _DEPTH:
                pair = next(source, None)
                if pair is None:
                    exhausted = True
                else:
                    waiting[self._submit(pair)] = pair
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                yield from self._recover(waiting)
                waiting.clear()
                continue
            for future in done:
                yield waiting.pop(future).tag, future.result()

    def _recover(
        self, waiting: dict[Future[PairScores], Pair[Tag]]
    ) -> Iterator[tuple[Tag, PairScores]]:
        """Score what was under way when a process died, each alone."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for future, pair in waiting.items():
            finished = future.done() and not future.cancelled() and not future.exception()
            yield pair.tag, future.result() if finished else self._score_alone(pair)
        self._executor = self._start(self._processes)

    def _score_alone(self, pair: Pair[Tag]) -> PairScores:
        for groups in (self._groups, tuple(name for name in self._groups if name != "pesq")):
            with self._start(1) as executor:
                try:
                    scored = executor.submit(_score, pair, groups).result()
                except BrokenProcessPool:
                    continue
            crashed = dict.fromkeys(("pesq_nb", "pesq_wb"), Reason.CRASHED.value)
            return scored if groups == self._groups else _with_reasons(scored, crashed)
        return PairScores.missing(Reason.CRASHED)

    def _submit(self, pair: Pair[Tag]) -> "Future[PairScores]":
        try:
            return self._executor.submit(_score, pair, self._groups)
        except BrokenProcessPool as error:
            # A process died since the last look; the pair is recovered with those under way.
            refused: Future[PairScores] = Future()
            refused.set_exception(error)
            return refused

    def _start(self, processes: int) -> ProcessPoolExecutor:
        # Spawned, because fsspec, torch and Arrow run threads that a fork would cut off.
        context = multiprocessing.get_context("spawn")
        return _Processes(
            processes, mp_context=context, initializer=_prepare, initargs=(self._sim_model,)
        )


class _Processes(ProcessPoolExecutor):
    """Processes that do not run the user's script again when they start, as spawned ones would."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> "Future[T]":
        """Submit work, and start a process for it if there may be one more."""
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        # Libraries read their limits when they are imported, which a process does before any work.
        limits = {name: "1" for name in _THREAD_LIMITS if name not in os.environ}
        os.environ.update(limits)
        try:
            return super().submit(work, *args, **named)
        finally:
            sys.modules["__main__"] = script
            for name in limits:
                del os.environ[name]


def _with_reasons(scored: PairScores, reasons: dict[str, str]) -> PairScores:
    return replace(scored, reasons={**scored.reasons, **reasons})


def _prepare(sim_model: str | None) -> None:
    global _speaker
    _speaker = load_speaker_model(sim_model) if sim_model else None


def _score(pair: Pair[Tag], groups: tuple[str, ...]) -> PairScores:
    return _score_with(pair, groups, _speaker)


def _score_with(
    pair: Pair[Tag], groups: tuple[str, ...], speaker: SpeakerModel | None
) -> PairScores:
    return score_pair(
        pair.original, pair.reconstruction, pair.rate_hz, groups=groups, speaker=speaker
    )
