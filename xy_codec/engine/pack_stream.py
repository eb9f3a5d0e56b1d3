"""Runs packs of clips, most of all those of encoding: what all codecs over packs do alike.

How clips are cut into jobs, and what a pack runs, each codec says.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from xy_codec.contract import Codec, CodecIdentity, Codes, Encoded, Tag, Waveform
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.packing import Job, JobKind, Pack, fill_packs, fill_packs_closely
from xy_codec.inputs import check_waveform

# Of encoding or of decoding.
AnyJob = TypeVar("AnyJob", bound=Job)


class PackStream(Codec, Generic[JobKind]):
    """A codec that encodes packs of jobs; a job's codes do not depend on the pack's others."""

    def __init__(self, identity: CodecIdentity, device: torch.device, geometry: Geometry) -> None:
        super().__init__()
        self._identity = identity
        self.device = device
        self.geometry = geometry
        # The host prepares one pack while the accelerator runs the one before it.
        self.counters.packs_in_flight = 0 if device.type == "cpu" else 1

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        """Encode tagged clips as they come; a clip is yielded when its last pack has run."""
        without_frames: deque[Tag] = deque()
        packs = self._packs(self._jobs_of(clips, without_frames))
        for done in self._run(packs, self._launch):
            yield from done
            yield from self._empty(without_frames)
        yield from self._empty(without_frames)

    def _packs(self, jobs: Iterable[tuple[AnyJob, int]]) -> Iterator[list[AnyJob]]:
        """Jobs of so many steps, pack by pack."""
        fill = fill_packs_closely if self.geometry.has_one_shape else fill_packs
        return fill(jobs, self.geometry)

    def _run(
        self, packs: Iterable[list[AnyJob]], launch: Callable[[list[AnyJob]], Pack[Any]]
    ) -> Iterator[list[tuple[Any, Encoded]]]:
        """Run packs, the next while those before it run; gives the clips that became complete."""
        running: deque[Pack[Any]] = deque()
        for jobs in packs:
            done = self._add_running(running, jobs, launch)
            while len(running) > self.counters.packs_in_flight:
                done += running.popleft().collect()
            yield done
        for pack in running:
            yield list(pack.collect())

    @abstractmethod
    def _jobs(self, tag: Any, waveform: Waveform) -> list[JobKind]:
        """What a clip is cut into, in order; nothing where it has no frames."""

    @abstractmethod
    def _pack_codes(self, jobs: Sequence[JobKind]) -> Tensor:
        """Codes `[frames of the buffer, K]` of jobs that lie end to end, on the device.

        It is called again for the same jobs where memory ran out.
        """

    @property
    def _may_overflow(self) -> bool:
        """Whether `_pack_codes` may give codes of -1, for frames whose values are not finite."""
        return False

    def _in_exact(self, job: JobKind) -> Codes:
        """Codes `[frames, K]` of a job in float32, where half precision was too small for it."""
        raise NotImplementedError

    def _empty(self, tags: deque[Tag]) -> Iterator[tuple[Tag, Encoded]]:
        while tags:
            yield tags.popleft(), Encoded.without_frames(self.shape)

    def _jobs_of(
        self, clips: Iterable[tuple[Tag, Waveform]], without_frames: deque[Tag]
    ) -> Iterator[tuple[JobKind, int]]:
        """The jobs of all clips with their steps; clips too short for a frame are noted."""
        for tag, waveform in clips:
            check_waveform(waveform, self.shape, None, f"Waveform `{tag}`")
            jobs = self._jobs(tag, waveform)
            if not jobs:
                without_frames.append(tag)
            yield from ((job, job.steps) for job in jobs)

    def _add_running(
        self,
        running: deque[Pack[Any]],
        jobs: list[AnyJob],
        launch: Callable[[list[AnyJob]], Pack[Any]],
    ) -> list[tuple[Any, Encoded]]:
        """Launch a pack; when memory runs out, end those before it and launch the same one again.

        Never in another shape: codes depend on the number of steps in a buffer.
        """
        try:
            running.append(launch(jobs))
            return []
        except torch.cuda.OutOfMemoryError:
            self.counters.times_out_of_memory += 1
        # Outside of `except`, whose traceback would keep the failed attempt's memory.
        done: list[tuple[Any, Encoded]] = []
        while running:
            done += running.popleft().collect()
        torch.cuda.empty_cache()
        self.counters.packs_in_flight = max(0, self.counters.packs_in_flight - 1)
        running.append(launch(jobs))
        return done

    @torch.inference_mode()
    def _launch(self, jobs: list[JobKind]) -> Pack[JobKind]:
        """Encode a pack; on an accelerator its codes may still be on their way then."""
        pack = self._bring(jobs, self._pack_codes(jobs))
        pack.in_exact = self._in_exact if self._may_overflow else None
        return pack

    def _bring(self, jobs: list[AnyJob], made: Tensor) -> Pack[AnyJob]:
        """Send what was made of jobs to the host."""
        pack = Pack(jobs, made.to("cpu", non_blocking=True))
        self.counters.packs_run += 1
        if self.device.type == "cuda":
            pack.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            # Of the codec's device, which need not be the current one.
            pack.done.record(torch.cuda.current_stream(self.device))
        return pack
