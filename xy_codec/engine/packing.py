"""Fills packs with windows of clips, and hands the codes of a pack back to its clips.

`packed_codec.py` cuts clips into windows before and runs the packs afterwards.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from xy_codec.contract import Codes, Encoded, Tag, Waveform
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.windows import EncodeWindow

Window = TypeVar("Window")


@dataclass(slots=True)
class OpenClip(Generic[Tag]):
    """A clip some of whose windows are still to come."""

    tag: Tag
    codes: Codes
    windows_left: int


@dataclass(frozen=True, slots=True)
class Job(Generic[Tag]):
    """One window of a clip, the mel frames it takes, and the steps and frames it owns in a pack."""

    clip: OpenClip[Tag]
    window: EncodeWindow
    samples: Waveform
    mel_frames: int
    steps: int
    frames: int


@dataclass(slots=True)
class Pack(Generic[Tag]):
    """Windows that go through the model together, and their codes once launched."""

    jobs: Sequence[Job[Tag]]
    codes: Tensor = field(default_factory=lambda: torch.empty(0))
    done: torch.cuda.Event | None = None

    @property
    def steps(self) -> int:
        """The steps of the buffer that its windows own."""
        return sum(job.steps for job in self.jobs)

    def collect(self) -> Iterator[tuple[Tag, Encoded]]:
        """Wait for the codes, hand them to their clips, and yield the clips that are complete."""
        if self.done is not None:
            self.done.synchronize()
        matrix, start = self.codes.numpy(), 0
        for job in self.jobs:
            kept = slice(job.window.first_frame, job.window.first_frame + job.window.num_kept)
            job.clip.codes[:, kept] = matrix[start : start + job.window.num_kept].T
            start += job.frames
            job.clip.windows_left -= 1
            if job.clip.windows_left == 0:
                yield job.clip.tag, Encoded(job.clip.codes)


def fill_packs(windows: Iterable[tuple[Window, int]], geometry: Geometry) -> Iterator[list[Window]]:
    """Windows of so many steps each, pack by pack, in the order in which they come."""
    pack: list[Window] = []
    used = 0
    for window, steps in windows:
        if _is_full(used, steps, geometry):
            yield pack
            pack, used = [], 0
        pack.append(window)
        used += steps
    if pack:
        yield pack


def _is_full(used: int, coming: int, geometry: Geometry) -> bool:
    """Whether to run a pack of `used` steps rather than add a window of `coming` steps.

    A pack that is more than half full runs early when it almost fills its last tile: another
    window would start a tile that may stay nearly empty.
    """
    if used == 0:
        return False
    if used + coming > geometry.pack_steps:
        return True
    tile = geometry.tile_steps
    return 2 * used >= geometry.pack_steps and -used % tile <= tile // 16
