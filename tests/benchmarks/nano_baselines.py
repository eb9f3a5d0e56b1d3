"""Two codecs of xy-nano's rate that learned nothing: the floor that its codes have to beat.

`MelKMeans` codes eight log-mel frames at a time with residual k-means; `RandomEncoder` does the
same to what xy-nano's encoder gives before training. Both have 8 codebooks of 1024 entries at
12.5 Hz, both decode to log-mel frames and let Griffin-Lim find the phases.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xy_codec.training.codebook_update import initialize
from xy_codec.training.codec_start import start_codec
from xy_codec.training.recipe import CodebookRule, load_recipe
from xy_codec.xy.config import MelConfig
from xy_codec.xy.mel import LogMel
from xy_codec.xy.quantizer import Codebook

Wave = npt.NDArray[np.float32]
FRAME = 1280
_HOP = 160
_STACK = FRAME // _HOP
_ITERATIONS = 32


class ResidualKMeans:
    """8 × 1024 k-means codebooks, each on what the ones before it left over."""

    def __init__(self, rows: Tensor, seed: int = 0) -> None:
        random, rule = np.random.default_rng(seed), CodebookRule()
        self.books = []
        for _ in range(8):
            book = Codebook(1024, rows.shape[1])
            initialize(book, rows, len(rows), rule, random)
            rows = rows - book.lookup(book.nearest(rows))
            self.books.append(book)

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Indices `[8, N]` and the rows they stand for."""
        total, indices = torch.zeros_like(rows), []
        for book in self.books:
            chosen = book.nearest(rows - total)
            total = total + book.lookup(chosen)
            indices.append(chosen)
        return torch.stack(indices), total


def mel_rows(mel: LogMel, wave: Wave) -> Tensor:
    """Log-mel frames of whole codec frames, eight a row."""
    whole = torch.from_numpy(wave[: len(wave) // FRAME * FRAME])[None]
    return mel(whole)[0].reshape(-1, _STACK * 80)


class MelKMeans:
    """Residual k-means of eight log-mel frames side by side."""

    name = "k-means of log-mel frames, Griffin-Lim"

    def __init__(self, waves: list[Wave]) -> None:
        self.mel = LogMel(MelConfig())
        self.code = ResidualKMeans(torch.cat([mel_rows(self.mel, wave) for wave in waves]))

    def __call__(self, wave: Wave) -> tuple[Wave, npt.NDArray[np.int64]]:
        """The reconstruction and the codes `[8, T]`."""
        indices, rows = self.code(mel_rows(self.mel, wave))
        return griffin_lim(rows.reshape(-1, 80), self.mel), indices.numpy()


class RandomEncoder:
    """Residual k-means of an untrained encoder, and the linear map from it to log-mel frames."""

    name = "random encoder, k-means, linear map, Griffin-Lim"

    def __init__(self, waves: list[Wave], whisper: Path) -> None:
        recipe = load_recipe("nano_pretrain", {"model.whisper": str(whisper)})
        self.codec = start_codec(recipe).eval()
        self.mel = LogMel(MelConfig())
        target = torch.cat([mel_rows(self.mel, wave) for wave in waves])
        latents = torch.cat([self._latents(wave) for wave in waves])
        self.code = ResidualKMeans(latents)
        self.map = _ridge(self.code(latents)[1], target)

    def __call__(self, wave: Wave) -> tuple[Wave, npt.NDArray[np.int64]]:
        """The reconstruction and the codes `[8, T]`."""
        indices, rows = self.code(self._latents(wave))
        return griffin_lim(self.map(rows).reshape(-1, 80), self.mel), indices.numpy()

    @torch.no_grad()
    def _latents(self, wave: Wave) -> Tensor:
        whole = torch.from_numpy(wave[: len(wave) // FRAME * FRAME])[None]
        return self.codec.embed(whole, torch.tensor([whole.shape[1] // FRAME]))[0]


def griffin_lim(log_mel: Tensor, mel: LogMel) -> Wave:
    """Samples whose log-mel frames come near `[T, 80]`."""
    power = torch.linalg.pinv(mel.filters) @ (10 ** (log_mel.T * 4 - 4))
    magnitude = power.clamp(min=0).sqrt()
    samples = len(log_mel) * _HOP
    magnitude = torch.cat([magnitude, magnitude[:, -1:]], dim=1)
    angles = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    spectrum = torch.polar(magnitude, angles)
    wave = torch.zeros(samples)
    for _ in range(_ITERATIONS):
        wave = torch.istft(spectrum, 400, _HOP, window=mel.window, length=samples)
        again = torch.stft(wave, 400, _HOP, window=mel.window, return_complex=True)
        spectrum = torch.polar(magnitude, again.angle())
    return wave.numpy()


def _ridge(inputs: Tensor, outputs: Tensor) -> Callable[[Tensor], Tensor]:
    ones = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    square = ones.T @ ones + 1e-3 * torch.eye(ones.shape[1])
    weight = torch.linalg.solve(square, ones.T @ outputs)
    return lambda rows: torch.cat([rows, torch.ones(len(rows), 1)], dim=1) @ weight
