"""Whisper's log-mel spectrogram, in torch on whatever device the waveform is on."""

import torch
from torch import Tensor, nn

from xy_codec.blocks.mel_filters import mel_filters
from xy_codec.xy.config import FRAME_TOKENS, MelConfig

MEL_PER_FRAME = 2 * FRAME_TOKENS  # log-mel frames at 100 Hz in one 12.5 Hz frame

FLOOR = 1e-10
DYNAMIC_RANGE = 8.0  # decades below the loudest bin of the clip


class LogMel(nn.Module):
    """Samples to log-mel frames; it has no learned state and none in checkpoints."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.n_fft = config.n_fft
        self.hop_length = config.hop_length
        self.max_frames = config.chunk_length * config.sampling_rate // config.hop_length
        filters = mel_filters(config.sampling_rate, config.n_fft, config.feature_size)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Frames to compute for a clip of at most 30 s, silence behind it included.

        With two frames of silence behind it a clip has the log-mel that it has when it is padded
        to 30 s. Rounded up to whole 12.5 Hz frames.
        """
        frames = -(-num_samples // self.hop_length) + 2
        return min(self.max_frames, -(-frames // MEL_PER_FRAME) * MEL_PER_FRAME)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves `[B, N * hop]` to `[B, N, M]`, floored eight decades below each clip's maximum."""
        spectrum = torch.stft(
            waves,
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum[..., :-1].abs() ** 2
        mel = (self.filters @ power).clamp(min=FLOOR).log10()
        loudest = mel.amax(dim=(-2, -1), keepdim=True)
        return ((torch.maximum(mel, loudest - DYNAMIC_RANGE) + 4.0) / 4.0).transpose(-2, -1)
