"""Runs packs of segments of clips: what the causal codecs do alike, in tiles or in one shape."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from xy_codec.contract import CodecIdentity, CodedClip, Waveform
from xy_codec.engine.causal import (
    BLOCK_FRAMES,
    CausalLayout,
    CodedJob,
    Segment,
    SegmentJob,
    cut_clip,
    lay_out_segments,
    segment_jobs,
)
from xy_codec.engine.causal_program import fill_packs_to_their_ends
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_stream import AnyJob, PackStream
from xy_codec.engine.packing import Job, OpenClip, Pack

# More than any clip has; packs of one shape cut clips themselves.
_UNCUT = BLOCK_FRAMES << 40


class CausalStream(PackStream[SegmentJob]):
    """A codec whose clips are cut into segments, each of which sees those before it."""

    def __init__(
        self, identity: CodecIdentity, device: torch.device, geometry: Geometry, *, as_graph: bool
    ) -> None:
        """Open a codec of this identity.

        Args:
            as_graph: On CUDA, replay packs of one shape as a graph.
        """
        super().__init__(identity, device, geometry)
        self._as_graph = as_graph

    @property
    def _most_frames(self) -> int:
        """Of a segment, before packs are filled."""
        return _UNCUT if self.geometry.has_one_shape else self.geometry.pack_steps

    def _jobs(self, tag: Any, waveform: Waveform) -> list[SegmentJob]:
        return segment_jobs(tag, waveform, self.shape, self._most_frames)

    def _packs(self, jobs: Iterable[tuple[AnyJob, int]]) -> Iterator[list[AnyJob]]:
        if not self.geometry.has_one_shape:
            return super()._packs(jobs)
        segments = cast(Iterable[tuple[SegmentJob, int]], jobs)
        packs = fill_packs_to_their_ends(segments, self.geometry)
        return cast(Iterator[list[AnyJob]], packs)

    def _decode_in_one_shape(
        self, clips: Sequence[CodedClip], hop: int, run: Callable[[list[CodedJob]], Tensor]
    ) -> list[Waveform]:
        """The waveforms of clips, by what gives samples `[.., hop]` of packs."""
        samples = self.shape.output_samples_per_frame
        waves = [np.empty(clip.codes.shape[1] * samples, np.float32) for clip in clips]
        pairs = zip(clips, waves, strict=True)
        jobs = [coded_job(clip, wave, hop) for clip, wave in pairs if len(wave)]
        launch = partial(self._launch_decoding, run)
        for _ in self._run(self._packs((job, job.frames) for job in jobs), launch):
            pass
        return waves

    @torch.inference_mode()
    def _launch_decoding(
        self, run: Callable[[list[CodedJob]], Tensor], jobs: list[CodedJob]
    ) -> Pack[Job]:
        return self._bring([self._heard(job) for job in jobs], run(jobs))

    def _heard(self, job: CodedJob) -> Job:
        """What becomes sound of a job in its pack: all of it, unless the codec has to wait."""
        return job

    def _lay_out(self, segments: Sequence[Segment]) -> CausalLayout:
        """The layout of a pack in tiles."""
        return lay_out_segments(segments, self.geometry.tile_steps, self.device)


def coded_job(coded: CodedClip, wave: Waveform, hop: int) -> CodedJob:
    """The job of decoding a clip of one frame and more into `wave`, `hop` samples at a time."""
    (segment,) = cut_clip(coded.codes.shape[1], _UNCUT)
    frames = segment.frames
    # Samples in the place of codes.
    clip = OpenClip(None, wave.reshape(-1, hop).T, 1)
    return CodedJob(clip, wave, 0, frames, frames, frames, segment, coded)
