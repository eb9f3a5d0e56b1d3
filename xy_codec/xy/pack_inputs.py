"""What encoding a pack of one shape is given: its samples and where its clips lie.

The host fills it, and one copy brings it to the device. `pack_program.py` is what reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xy_codec.engine.attention import BLOCK_FIELDS, fill_blocks, num_blocks
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.layout import Span
from xy_codec.engine.pack_memory import Arrays, PackMemory, Shapes
from xy_codec.xy.mel import LogMel

# `(x + 4) / 4` as `1 + x / 4`, which rounds to the same number.
_NORMALISE = np.array([[1.0], [0.25]], np.float32)
_NEIGHBOURS = np.array([-1, 0, 1], np.int32)


class Stretch(NamedTuple):
    """One window of a clip: its samples, and the mel frames and steps that it owns."""

    samples: NDArray[np.float32]
    mel_frames: int
    steps: int


class PackTensors(NamedTuple):
    """A pack of S steps, of at most C clips; F rows of mel frames, some of which are no clip's.

    Attributes:
        samples: each clip's with what the spectra of its ends see, mirrored, and silence behind it.
        scale: `[2, F]`, what a log-mel frame is normalised with; 0 in rows of no clip.
        clip_of_row: `[F]`, the clip of each row, C where it is of none.
        taps: `[2 S, 3]`, the rows of a mel frame and its two neighbours.
        place: `[S]`, each step's position in its clip.
        starts: `[C]`, among the taps of the second convolution, those before a clip's first step.
        blocks: which steps attend to which, see `engine/attention.py`.
    """

    samples: Tensor
    scale: Tensor
    clip_of_row: Tensor
    taps: Tensor
    place: Tensor
    starts: Tensor
    blocks: Tensor


@dataclass(frozen=True)
class PackInputs(PackMemory):
    """Sizes of the parts, and how they are filled."""

    geometry: Geometry
    mel: LogMel
    dtype: torch.dtype

    @property
    def num_rows(self) -> int:
        """Rows of mel frames, those between clips included; the first is of no clip."""
        return 1 + 2 * self.geometry.pack_steps + self.gap_rows * self.geometry.most_clips

    @property
    def gap_rows(self) -> int:
        """Rows behind each clip, whose spectra would see two clips."""
        return -(-self.mel.n_fft // self.mel.hop_length)

    def shapes(self) -> Shapes:
        """Type and shape of each of the `PackTensors`."""
        steps, clips = self.geometry.pack_steps, self.geometry.most_clips
        return [
            # As many samples as give one row a hop.
            (np.float32, ((self.num_rows - 1) * self.mel.hop_length + self.mel.n_fft,)),
            (np.float32, (2, self.num_rows)),
            (np.int64, (self.num_rows,)),
            (np.int32, (2 * steps, 3)),
            (np.int32, (steps,)),
            (np.int64, (clips,)),
            (np.int32, (num_blocks(steps, clips, self.dtype), BLOCK_FIELDS)),
        ]

    def fill(self, parts: Arrays, stretches: Sequence[Stretch]) -> None:
        """Write stretches of clips, end to end, into the parts of a memory."""
        samples, scale, clip_of_row, taps, place, starts, blocks = parts
        # Rows of no clip become 0, and so does what steps of no clip are made from.
        scale[:], clip_of_row[:], taps[:], place[:] = 0, self.geometry.most_clips, 0, 0
        spans, row, step = [], 1, 0
        for number, (wave, frames, steps) in enumerate(stretches):
            rows, own = slice(row, row + frames), slice(step, step + steps)
            self._fill_samples(samples[row * self.mel.hop_length :], wave, frames)
            scale[:, rows] = _NORMALISE
            clip_of_row[rows] = number
            taps[2 * step : 2 * step + frames] = _NEIGHBOURS + np.arange(row, row + frames)[:, None]
            place[own] = np.arange(steps)
            spans.append(Span(step, steps, -(-len(wave) // self.mel.hop_length) // 2))
            row, step = row + frames + self.gap_rows, step + steps
        starts[:] = 0
        starts[: len(spans)] = [3 * span.start for span in spans]
        fill_blocks(blocks, spans, self.geometry.pack_steps, self.dtype)

    def _fill_samples(
        self, region: NDArray[np.generic], wave: NDArray[np.float32], frames: int
    ) -> None:
        """A clip as its spectra see it: silence behind it, and both ends mirrored."""
        half, length = self.mel.n_fft // 2, frames * self.mel.hop_length
        own = region[half : half + length]
        own[: len(wave)] = wave
        own[len(wave) :] = 0
        region[:half] = own[half:0:-1]
        region[half + length : 2 * half + length] = own[-2 : -half - 2 : -1]
