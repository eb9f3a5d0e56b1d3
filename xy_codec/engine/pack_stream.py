"""Encodes a stream of clips in packs: what all codecs over packs do alike.

How clips are cut into jobs, and what a pack runs, each codec says.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic

import torch
from torch import Tensor

from xy_codec.contract import Codec, CodecIdentity, Codes, Encoded, Tag, Waveform
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.packing import JobKind, Pack, fill_packs, fill_packs_closely
from xy_codec.inputs import check_waveform


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
        running: deque[Pack[JobKind]] = deque()
        without_frames: deque[Tag] = deque()
        fill = fill_packs_closely if self.geometry.has_one_shape else fill_packs
        for jobs in fill(self._jobs_of(clips, without_frames), self.geometry):
            yield from self._add_running(running, jobs)
            while len(running) > self.counters.packs_in_flight:
                yield from running.popleft().collect()
            yield from self._empty(without_frames)
        while running:
            yield from running.popleft().collect()
        yield from self._empty(without_frames)

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
        self, running: deque[Pack[JobKind]], jobs: Sequence[JobKind]
    ) -> Iterator[tuple[Any, Encoded]]:
        """Launch a pack; when memory runs out, end those before it and launch the same one again.

        Never in another shape: codes depend on the number of steps in a buffer.
        """
        try:
            running.append(self._launch(jobs))
            return
        except torch.cuda.OutOfMemoryError:
            self.counters.times_out_of_memory += 1
        # Outside of `except`, whose traceback would keep the failed attempt's memory.
        while running:
            yield from running.popleft().collect()
        torch.cuda.empty_cache()
        self.counters.packs_in_flight = max(0, self.counters.packs_in_flight - 1)
        running.append(self._launch(jobs))

    @torch.inference_mode()
    def _launch(self, jobs: Sequence[JobKind]) -> Pack[JobKind]:
        """Run a pack; on an accelerator its codes may still be on their way when this returns."""
        codes = self._pack_codes(jobs).to("cpu", non_blocking=True)
        pack = Pack(jobs, codes, in_exact=self._in_exact if self._may_overflow else None)
        self.counters.packs_run += 1
        if self.device.type == "cuda":
            pack.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            # Of the codec's device, which need not be the current one.
            pack.done.record(torch.cuda.current_stream(self.device))
        return pack
