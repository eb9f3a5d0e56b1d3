"""The codec as it is trained: encode, quantise straight through, decode, all with gradients."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.training.codebook_update import initialize, update
from xy_codec.training.recipe import CodebookRule
from xy_codec.training.training_layout import TrainingLayout
from xy_codec.xy.model import XYTokenizer

_BACKED_FRAMES = 8  # mel frames of silence behind a clip: its last token reads one of them


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What one batch became."""

    waves: Tensor  # [B, L]
    rows: Tensor  # quantised rows at 12.5 Hz, projected out: [B, T, D]
    latents: Tensor  # what was quantised, valid rows only: [N, D]
    indices: Tensor | None  # [K, N]; None without quantisation
    commitment: Tensor
    replaced: int = 0


class TrainingCodec(nn.Module):
    """`XYTokenizer` with the parts that only training needs: straight-through codes, updates."""

    def __init__(
        self, model: XYTokenizer, rule: CodebookRule, *, relative_commit: bool = False, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.rule = rule
        self.relative_commit = relative_commit
        self.random = torch.Generator().manual_seed(seed)
        self.frame_samples = model.config.encoder_downsample_rate
        model.semantic_encoder.requires_grad_(False)

    @property
    def is_initialized(self) -> bool:
        """Whether the codebooks have had their k-means."""
        return all(bool(book.inited) for book in self.model.quantizer.codebooks())

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """What turns audio into codes: everything up to the codebooks, without frozen weights."""
        model = self.model
        for part in (
            model.semantic_encoder_adapter,
            model.acoustic_encoder,
            model.pre_rvq_adapter,
            model.downsample,
            model.quantizer.input_proj,
        ):
            yield from part.parameters()

    def decoder_parameters(self) -> Iterator[nn.Parameter]:
        """What turns codes into audio."""
        model = self.model
        for part in (
            model.quantizer.output_proj,
            model.post_rvq_adapter,
            model.upsample,
            model.acoustic_decoder,
            model.vocos,
        ):
            yield from part.parameters()

    def forward(
        self, waves: Tensor, lengths: Tensor, *, quantize: bool = True, learn_codes: bool = False
    ) -> Reconstruction:
        """Reconstruct `[B, L]` waves, L a whole number of frames, clip i ending at `lengths[i]`."""
        frames = -(-lengths // self.frame_samples)
        latents = self.embed(waves, frames)
        valid = torch.arange(latents.shape[1], device=waves.device) < frames[:, None]
        coded = self._code(latents[valid], quantize=quantize, learn=learn_codes)
        spread = torch.zeros_like(latents).masked_scatter(valid[..., None], coded.rows)
        rows = self.model.quantizer.output_proj(spread)
        return replace(coded, waves=self.render(rows, frames), rows=rows)

    def embed(self, waves: Tensor, frames: Tensor) -> Tensor:
        """Waves to what the codebooks see: rows at 12.5 Hz in the quantiser's width."""
        per_token = self.frame_samples // self.model.downsample.factor
        num_tokens = waves.shape[1] // per_token
        hop = self.model.mel.hop_length
        mel = self.model.mel(F.pad(waves.float(), (0, _BACKED_FRAMES * hop)))
        backed = TrainingLayout(
            frames * self.model.downsample.factor, num_tokens + _BACKED_FRAMES // 2
        )
        rows = self.model.embed(mel, backed)[:, : waves.shape[1] // self.frame_samples]
        with torch.autocast(waves.device.type, enabled=False):
            latents: Tensor = self.model.quantizer.input_proj(rows.float())
        return latents

    def render(self, rows: Tensor, frames: Tensor) -> Tensor:
        """Rows at 12.5 Hz to waves."""
        tokens = TrainingLayout(
            frames * self.model.upsample.factor, rows.shape[1] * self.model.upsample.factor
        )
        spectrum = self.model.reconstruct(rows, tokens)
        waves: Tensor = self.model.vocos.head.to_samples(spectrum.float())
        return waves

    @torch.no_grad()
    def start_codebooks(self, latents: Tensor) -> None:
        """K-means of each codebook on what the ones before it leave of `latents` `[N, D]`."""
        residual = latents.float()
        for book in self.model.quantizer.codebooks():
            initialize(book, residual, self.rule, self.random)
            residual = residual - book.lookup(book.nearest(residual))

    def _code(self, latents: Tensor, *, quantize: bool, learn: bool) -> Reconstruction:
        nothing = latents.new_zeros(())
        if not quantize:
            return Reconstruction(latents, latents, latents, None, nothing)
        residual, total = latents, torch.zeros_like(latents)
        indices, commitment, replaced = [], nothing, 0
        for book in self.model.quantizer.codebooks():
            chosen = book.nearest(residual.detach())
            entry = book.lookup(chosen).clone()
            if learn:
                replaced += update(book, residual.detach(), chosen, self.rule, self.random)
            commitment = commitment + (residual - entry).abs().mean()
            residual, total = residual - entry, total + entry
            indices.append(chosen)
        through = latents + (total - latents).detach()
        commitment = commitment / len(indices)
        if self.relative_commit:
            # One scale for all codebooks: each relative to its own small residual, the last ones
            # would pull at the encoder hardest.
            spread = (latents - latents.mean(0)).detach().abs().mean()
            commitment = commitment / spread.clamp(min=1e-6)
        return Reconstruction(latents, through, latents, torch.stack(indices), commitment, replaced)
