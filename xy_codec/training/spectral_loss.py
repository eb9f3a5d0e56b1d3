"""The reconstruction loss: distances between mel spectrograms at several window lengths."""

import torch
from torch import Tensor, nn

from xy_codec.blocks.mel_filters import mel_filters
from xy_codec.training.recipe import SpectralConfig


class SpectralLoss(nn.Module):
    """Sum over window lengths of the mean L1 between normalised mel spectrograms of a clip.

    `log` adds the same distance between decimal logarithms, and divides the linear one by the
    clip's mean, so that quiet clips count as much as loud ones.
    """

    def __init__(self, config: SpectralConfig, rate_hz: int) -> None:
        super().__init__()
        self.config = config
        for window, num_mels in zip(config.windows, config.num_mels, strict=True):
            filters = mel_filters(rate_hz, window, num_mels)
            filters = filters / filters.sum(1).mean()
            self.register_buffer(f"filters_{window}", filters, persistent=False)
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def forward(self, made: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Distances `[B]` of `[B, L]` waves; what follows `lengths[i]` is ignored."""
        distances = [self._distance(made, target, lengths, each) for each in self.config.windows]
        return torch.stack(distances).sum(0)

    def spectrogram(self, waves: Tensor, window: int) -> Tensor:
        """Mel magnitudes `[B, M, T]` of a normalised STFT with a hop of a quarter window."""
        taper = self.get_buffer(f"window_{window}")
        spectrum = torch.stft(waves, window, window // 4, window=taper, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1) / window
        # The root has no gradient at zero.
        return self.get_buffer(f"filters_{window}") @ (power + 1e-9).sqrt()

    def _distance(
        self, made: Tensor, target: Tensor, lengths: Tensor | None, window: int
    ) -> Tensor:
        mine = self.spectrogram(made, window)
        with torch.no_grad():
            theirs = self.spectrogram(target, window)
            valid = self._valid(theirs, lengths, window // 4)
            count = valid.sum((1, 2)) * theirs.shape[1]
        linear = ((mine - theirs).abs() * valid).sum((1, 2)) / count
        if not self.config.log:
            return linear
        floor = self.config.floor
        level = (theirs * valid).sum((1, 2)) / count
        decades = (mine.clamp(min=floor).log10() - theirs.clamp(min=floor).log10()).abs()
        return 0.5 * linear / level.clamp(min=floor) + (decades * valid).sum((1, 2)) / count

    def _valid(self, spectrogram: Tensor, lengths: Tensor | None, hop: int) -> Tensor:
        frames = torch.arange(spectrogram.shape[2], device=spectrogram.device)
        if lengths is None:
            return torch.ones_like(spectrogram[:, :1])
        return (frames <= (lengths // hop)[:, None]).to(spectrogram.dtype)[:, None]
