"""Cutting long clips into windows of 30 s, as the reference does; plain arithmetic, no torch.

Each window but the last keeps only its first `30 - overlap` seconds: the overlap is context to
the right. Each window is encoded without the others, and positions restart in each.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xy_codec.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EncodeWindow:
    """Samples `[start, stop)` of a clip; the first `num_kept` frames land at `first_frame`."""

    start: int
    stop: int
    first_frame: int
    num_kept: int


@dataclass(frozen=True, slots=True)
class DecodeWindow:
    """Frames `[start, stop)` of a clip, of which the first `num_kept` become samples."""

    start: int
    stop: int
    num_kept: int


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The window arithmetic of one codec and overlap."""

    window_samples: int
    step_frames: int
    samples_per_frame: int

    @classmethod
    def of(cls, rate_hz: int, seconds: int, samples_per_frame: int, overlap: float) -> "WindowPlan":
        """Windows of `seconds`; refuses an overlap at which codes would drift against time."""
        window = rate_hz * seconds
        frame_seconds = samples_per_frame / rate_hz
        frames = overlap / frame_seconds
        if not (0 <= overlap < seconds) or not math.isclose(frames, round(frames), abs_tol=1e-6):
            below = min(max(math.floor(frames), 0), math.ceil(seconds / frame_seconds) - 1)
            nearest = sorted({max(step, 0) * frame_seconds for step in (below, below + 1)})
            valid = " or ".join(f"{value:g}" for value in nearest if value < seconds)
            raise ConfigError(
                f"Overlap is {overlap:g} s; expected a multiple of {frame_seconds:g} s from 0 to "
                f"below {seconds} s, or codes would drift against the audio. Use {valid}."
            )
        step = window // samples_per_frame - round(frames)
        return cls(window, step, samples_per_frame)

    def encode_windows(self, num_samples: int) -> Iterator[EncodeWindow]:
        """The windows of a clip that yield at least one frame."""
        total = num_samples // self.samples_per_frame
        for first in range(0, total, self.step_frames):
            start = first * self.samples_per_frame
            stop = min(start + self.window_samples, num_samples)
            yield EncodeWindow(start, stop, first, min(self.step_frames, total - first))

    def decode_windows(self, num_frames: int) -> Iterator[DecodeWindow]:
        """The windows of a matrix of codes."""
        window = self.window_samples // self.samples_per_frame
        for start in range(0, num_frames, self.step_frames):
            stop = min(start + window, num_frames)
            yield DecodeWindow(start, stop, min(self.step_frames, num_frames - start))
