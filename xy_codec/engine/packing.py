"""Fills packs with stretches of clips, and hands the codes of a pack back to its clips.

`pack_stream.py` runs the packs; what a codec cuts its clips into is the codec's own matter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codes, Encoded, Side, Waveform
from xy_codec.engine.geometry import Geometry

Stretch = TypeVar("Stretch")


@dataclass(slots=True)
class OpenClip:
    """A clip some of whose jobs are still to come, and what has been made of it.

    `codes` are `[K, T]`; of a clip that is being decoded they are its samples, as many a frame.
    """

    tag: Any
    codes: NDArray[Any]
    jobs_left: int
    side: Side | None = None

    @classmethod
    def of(cls, tag: Any, shape: CodesShape, num_samples: int, num_jobs: int) -> Self:
        """A clip of so many samples, none of whose jobs has run."""
        frames = shape.num_frames(num_samples)
        return cls(tag, np.empty((shape.num_codebooks, frames), shape.dtype), num_jobs)


@dataclass(frozen=True, slots=True)
class Job:
    """A stretch of a clip that goes through the model in one pack.

    Attributes:
        clip: where its codes go.
        samples: all samples of the clip.
        first_frame: the clip's frame that its first code belongs to.
        num_kept: how many frames it gives codes for.
        frames: how many frames of the pack's buffer it owns, from `num_kept` on.
        steps: what it takes of a pack, in the unit of the codec's `Geometry`.
    """

    clip: OpenClip
    samples: Waveform
    first_frame: int
    num_kept: int
    frames: int
    steps: int


JobKind = TypeVar("JobKind", bound=Job)


@dataclass(slots=True)
class Pack(Generic[JobKind]):
    """Jobs that went through the model together, and their codes `[frames of the buffer, K]`.

    Of jobs of decoding it holds samples in the place of codes.

    Where values may become too large, `in_exact` gives the codes of a job that has codes of -1.
    """

    jobs: Sequence[JobKind]
    codes: Tensor
    done: torch.cuda.Event | None = None
    in_exact: Callable[[JobKind], Codes] | None = None

    def collect(self) -> Iterator[tuple[Any, Encoded]]:
        """Wait for the codes, hand them to their clips, and yield the clips that are complete."""
        if self.done is not None:
            self.done.synchronize()
        matrix, start = self.codes.numpy(), 0
        for job in self.jobs:
            kept = slice(job.first_frame, job.first_frame + job.num_kept)
            own = matrix[start : start + job.num_kept]
            if self.in_exact is not None and own.min() < 0:
                own = self.in_exact(job)
            job.clip.codes[:, kept] = own.T
            start += job.frames
            job.clip.jobs_left -= 1
            if job.clip.jobs_left == 0:
                yield job.clip.tag, Encoded(job.clip.codes, job.clip.side)


def fill_packs(
    stretches: Iterable[tuple[Stretch, int]], geometry: Geometry
) -> Iterator[list[Stretch]]:
    """Stretches of so many steps each, pack by pack, in the order in which they come."""
    pack: list[Stretch] = []
    used = 0
    for stretch, steps in stretches:
        if _is_full(used, steps, geometry):
            yield pack
            pack, used = [], 0
        pack.append(stretch)
        used += steps
    if pack:
        yield pack


def fill_packs_closely(
    stretches: Iterable[tuple[Stretch, int]], geometry: Geometry
) -> Iterator[list[Stretch]]:
    """Stretches pack by pack, each filled as far as the next two packs' worth of them allows.

    The one that waits longest is always taken.
    """
    waiting: list[tuple[Stretch, int]] = []
    for stretch in stretches:
        waiting.append(stretch)
        steps = sum(each for _, each in waiting)
        if steps >= 2 * geometry.pack_steps or len(waiting) == geometry.most_clips:
            yield _take_closest(waiting, geometry)
    while waiting:
        yield _take_closest(waiting, geometry)


def _take_closest(waiting: list[tuple[Stretch, int]], geometry: Geometry) -> list[Stretch]:
    """Take the first and those that together with it come closest to a whole pack."""
    unit = geometry.clip_steps
    within = (1 << geometry.pack_steps // unit + 1) - 1
    # Bit n: some of the stretches so far, with the first, have n units.
    reached = [1 << waiting[0][1] // unit]
    for _, steps in waiting[1:]:
        reached.append(reached[-1] | reached[-1] << steps // unit & within)
    units = reached[-1].bit_length() - 1
    taken = {0}
    for number in range(len(waiting) - 1, 0, -1):
        if not reached[number - 1] >> units & 1:
            taken.add(number)
            units -= waiting[number][1] // unit
    pack = [waiting[number][0] for number in sorted(taken)]
    waiting[:] = [each for number, each in enumerate(waiting) if number not in taken]
    return pack


def _is_full(used: int, coming: int, geometry: Geometry) -> bool:
    """Whether to run a pack of `used` steps rather than add a stretch of `coming` steps.

    A pack that is more than half full runs early when it almost fills its last tile: another
    one would start a tile that may stay nearly empty.
    """
    if used == 0:
        return False
    if used + coming > geometry.pack_steps:
        return True
    tile = geometry.tile_steps
    return 2 * used >= geometry.pack_steps and -used % tile <= tile // 16
