"""The codec as it is trained: encode, quantise, decode, with gradients from end to end.

The quantiser passes gradients straight through, as if it changed nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xy_codec.training.ranks import mean_of_all
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.padding import valid_steps
from xy_codec.xy.transformer import Block
from xy_codec.xy.vocoder import ConvNeXtBlock


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A batch after the codec, and what its losses need."""

    waves: Tensor  # [B, L]
    frames: Tensor  # quantised and projected out, at 12.5 Hz: [B, T, D]
    latents: Tensor  # what was quantised, of valid frames only: [N, D]
    indices: Tensor | None  # [K, N]; None without quantisation
    commitment: Tensor  # [B]


class TrainingCodec(nn.Module):
    """`XYTokenizer` with the parts that only training needs: straight-through codes, updates."""

    def __init__(self, model: XYTokenizer, *, relative_commit: bool = False) -> None:
        super().__init__()
        self.model = model
        self.relative_commit = relative_commit
        self.frame_samples = model.config.encoder_downsample_rate

    @property
    def is_initialized(self) -> bool:
        """Whether the codebooks have had their k-means."""
        return all(bool(book.inited) for book in self.model.quantizer.codebooks())

    def decoder_parameters(self) -> Iterator[nn.Parameter]:
        """What turns the quantiser's frames into audio."""
        model = self.model
        for part in (model.post_rvq_adapter, model.upsample, model.acoustic_decoder, model.vocos):
            yield from part.parameters()

    def forward(self, waves: Tensor, lengths: Tensor, *, quantize: bool = True) -> Reconstruction:
        """Reconstruct `[B, L]` waves, L a whole number of frames, clip i ending at `lengths[i]`."""
        num_frames = -(-lengths // self.frame_samples)
        latents = self.embed(waves, num_frames)
        valid = valid_steps(num_frames, latents.shape[1])
        inside = latents.flatten(0, 1) if valid is None else latents[valid]
        coded = self._code(inside, num_frames, quantize=quantize)
        if valid is None:
            spread = coded.frames.view_as(latents)
        else:
            spread = torch.zeros_like(latents).masked_scatter(valid[..., None], coded.frames)
        frames = self.model.quantizer.output_proj(spread)
        return replace(coded, waves=self.model.reconstruct(frames, num_frames), frames=frames)

    def embed(self, waves: Tensor, num_frames: Tensor) -> Tensor:
        """Waves to the latents `[B, T, D]` that are quantised; clip i has `num_frames[i]`."""
        tokens = num_frames * self.model.downsample.factor
        frames = self.model.embed(self.model.log_mel(waves.float()), tokens)
        frames = frames[:, : waves.shape[1] // self.frame_samples]
        with torch.autocast(waves.device.type, enabled=False):
            latents: Tensor = self.model.quantizer.input_proj(frames.float())
        return latents

    def _code(self, latents: Tensor, num_frames: Tensor, *, quantize: bool) -> Reconstruction:
        nothing = latents.new_zeros(len(num_frames))
        if not quantize:
            return Reconstruction(latents, latents, latents, None, nothing)
        residual, total = latents, torch.zeros_like(latents)
        indices, distance = [], latents.new_zeros(len(latents))
        for book in self.model.quantizer.codebooks():
            chosen = book.nearest(residual.detach())
            entry = book.lookup(chosen)
            distance = distance + (residual - entry).abs().mean(-1)
            residual, total = residual - entry, total + entry
            indices.append(chosen)
        through = latents + (total - latents).detach()
        of_clip = torch.arange(len(num_frames), device=latents.device)
        of_clip = of_clip.repeat_interleave(num_frames, output_size=len(latents))
        commitment = nothing.index_add(0, of_clip, distance) / num_frames
        if self.relative_commit:
            # One scale for all codebooks: each relative to its own small residual, the last ones
            # would pull at the encoder hardest.
            centred = (latents - mean_of_all(latents)).detach().abs()
            commitment = commitment / mean_of_all(centred).mean().clamp(min=1e-6)
        return Reconstruction(latents, through, latents, torch.stack(indices), commitment)


def recompute_activations(module: nn.Module) -> None:
    """Keep of every layer only its input, and compute the rest again when gradients are taken."""
    for part in module.modules():
        if isinstance(part, Block | ConvNeXtBlock):
            again = partial(checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False)
            part.forward = again  # type: ignore[method-assign]
