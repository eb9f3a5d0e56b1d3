"""The vocoder's source: harmonics of the pitch, and noise."""

import math

import torch
from torch import Tensor, nn

from xy_codec.secousti.config import HOP_SAMPLES, NUM_HARMONICS, SAMPLE_RATE_HZ
from xy_codec.secousti.noise import draw_noise, noise_jumps

_VOICED_HZ = 10.0
_AMPLITUDE = 0.1
_VOICED_NOISE = 0.003
_UNVOICED_NOISE = _AMPLITUDE / 3
# Sums stay below 2^63 for 27 hours of frames. Pitches from 0.001 Hz on lose nothing.
_PARTS_OF_A_TURN = 2.0**40


class HarmonicSource(nn.Module):
    """Pitches to samples: nine harmonics where a frame is voiced, noise where it is not."""

    jumps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(NUM_HARMONICS, 1)
        # Also where a model is built on the meta device: they are not in a checkpoint.
        self.register_buffer("jumps", noise_jumps(), persistent=False)

    def forward(
        self, pitch: Tensor, phases: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Pitches `[B, T]` in Hz, constant through a frame, to samples `[B, 256 T]`.

        The arguments are those of `of_frames`.
        """
        clips = zip(pitch, self.turns_before(pitch), strict=True)
        return torch.stack([self.of_frames(*clip, phases, noise) for clip in clips])

    def turns_before(self, pitch: Tensor) -> Tensor:
        """The turns `[B, T, 9]` that each harmonic has made before each frame, in float64.

        In float32 they would be a whole turn off within a second.
        """
        counted = count_turns(pitch)
        return added_turns(counted.cumsum(1) - counted)

    def noise(self, states: Tensor) -> Tensor:
        """Noise `[256 T, 9]` of frames with these states `[T, 4]` of `noise_states`."""
        return draw_noise(states, self.jumps)

    def of_frames(
        self, pitch: Tensor, turns_before: Tensor, phases: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Samples `[256 T]` of some frames of a clip, or of several ones.

        Args:
            pitch: `[T]` in Hz.
            turns_before: `[T, 9]`, those of these frames.
            phases: `[9]`, or of each frame `[T, 1, 9]`, where each harmonic starts; 0 if not given.
            noise: `[256 T, 9]` normal values; 0 if not given.
        """
        samples = torch.arange(1, HOP_SAMPLES + 1, device=pitch.device)[:, None]
        turns = turns_before[:, None] + samples * _turns_a_sample(pitch)[:, None]
        # Rounded where the reference rounds, which decides more than the last bits of a long clip.
        angles = 2.0 * math.pi * (turns.float() % 1.0)
        if phases is not None:
            angles = angles + phases
        voiced = (pitch > _VOICED_HZ).float()[:, None, None]
        values = _AMPLITUDE * angles.sin() * voiced
        if noise is not None:
            loudness = _VOICED_NOISE * voiced + _UNVOICED_NOISE * (1.0 - voiced)
            values = values + noise.view(-1, HOP_SAMPLES, NUM_HARMONICS) * loudness
        mixed: Tensor = self.mix(values).tanh().flatten()
        return mixed


def count_turns(pitch: Tensor) -> Tensor:
    """Turns `[.., T, 9, 2]` of each harmonic in each frame: whole ones, and 2^-40 ths of one.

    They are integers, so that a sum of them has the same bits in whatever order it is made.
    """
    turns = HOP_SAMPLES * _turns_a_sample(pitch)
    whole = turns.floor()
    return torch.stack((whole, (turns - whole) * _PARTS_OF_A_TURN), dim=-1).long()


def added_turns(counted: Tensor) -> Tensor:
    """Sums of what `count_turns` gave, `[.., 9, 2]`, as turns `[.., 9]` in float64."""
    whole, parts = counted.double().unbind(-1)
    return whole + parts / _PARTS_OF_A_TURN


def _turns_a_sample(pitch: Tensor) -> Tensor:
    """Turns `[.., T, 9]` of each harmonic from one sample to the next, as float32 rounds them."""
    harmonics = torch.arange(1, NUM_HARMONICS + 1, device=pitch.device)
    return (pitch[..., None] * harmonics / SAMPLE_RATE_HZ).double()
