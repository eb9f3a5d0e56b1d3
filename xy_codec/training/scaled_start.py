"""A start for random weights: every projection is scaled so that its results have a set spread.

Scales are fitted on one batch. Without it, projections give values far smaller than the positions
that are added to them. Training then strengthens the first direction that helps, which is
loudness. Latents end up with two or three of their 64 directions, and the later codebooks have
nothing left to code.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.training.batch import Batch
from xy_codec.training.training_codec import TrainingCodec
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.quantizer import NormedProjection
from xy_codec.xy.vocoder import Vocoder

Projection = nn.Linear | nn.Conv1d | nn.ConvTranspose1d | NormedProjection
_BESIDE_POSITIONS = 1.5  # wanted standard deviation of what positions are added to; theirs is 0.7
_QUIETEST = 1e-4  # magnitude below which a target's spectrum does not set the start


@torch.no_grad()
def scale_start(codec: TrainingCodec, batch: Batch, *, whisper: bool) -> None:
    """Scale the random weights of `codec`; with `whisper` its encoders are not random and stay."""
    device = next(codec.parameters()).device
    waves, lengths = batch.waves.to(device), batch.lengths.to(device)
    encoders = (codec.model.semantic_encoder, codec.model.acoustic_encoder) if whisper else ()
    kept = {part for encoder in encoders for part in encoder.modules()}
    for name, part in codec.model.named_modules():
        if isinstance(part, Projection) and not name.endswith("dwconv") and part not in kept:
            into_residual = ".layers." in name and name.endswith(("fc2", "out_proj"))
            _rescale(part, math.sqrt(_fan_in_share(part) * 3.0) * (0.5 if into_residual else 1.0))
    hooks = [part.register_forward_hook(_fit(std)) for part, std in _entries(codec.model)]
    try:
        codec(waves, lengths, quantize=False)
    finally:
        for hook in hooks:
            hook.remove()
    _start_at_mean_spectrum(codec.model, waves)


def _fan_in_share(part: Projection) -> float:
    """Inputs that torch counted when it drew the weights, divided by the inputs of one output.

    They differ for transposed convolutions only: torch takes their outputs for inputs.
    """
    if not isinstance(part, nn.ConvTranspose1d):
        return 1.0
    return part.out_channels * part.stride[0] / part.in_channels


def _entries(model: XYTokenizer) -> list[tuple[Projection, float]]:
    """Projections into a stack or into the quantiser, with the spread that each should give."""
    adapters = (model.semantic_encoder_adapter, model.pre_rvq_adapter, model.post_rvq_adapter)
    into_stacks: list[Projection] = [each.proj for each in adapters if each.proj]
    into_stacks.append(model.upsample.up_conv)
    entries = [(each, _BESIDE_POSITIONS) for each in into_stacks]
    quantizer = model.quantizer
    return [*entries, (quantizer.input_proj, 1.0), (quantizer.output_proj, 1.0)]


def _fit(std: float) -> Callable[[Projection, Any, Tensor], Tensor]:
    """A hook that scales a projection so that its results are centred and have this spread."""

    def fit(part: Projection, _: Any, out: Tensor) -> Tensor:
        is_channels_first = isinstance(part, nn.ConvTranspose1d)
        seen = (out.transpose(1, 2) if is_channels_first else out).float().flatten(0, -2)
        mean = seen.mean(0) if part.bias is not None else seen.new_zeros(())
        factor = float(std / (seen - seen.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        _rescale(part, factor)
        if part.bias is not None:
            part.bias.sub_(mean * factor)
        return ((out - mean) * factor).to(out.dtype)

    return fit


def _rescale(part: Projection, factor: float) -> None:
    """Multiply the weights and drop the bias."""
    (part.weight_g if isinstance(part, NormedProjection) else part.weight).mul_(factor)
    if part.bias is not None:
        part.bias.zero_()


def _start_at_mean_spectrum(model: XYTokenizer, waves: Tensor) -> None:
    """Set Vocos' last bias so that the first sounds made have the batch's mean log spectrum."""
    if not isinstance(model.vocos, Vocoder):
        return
    head = model.vocos.head
    inverse = head.istft
    spectrum = torch.stft(
        waves, inverse.n_fft, inverse.hop_length, window=inverse.window, return_complex=True
    )
    log_magnitude = spectrum.abs().clamp(min=_QUIETEST).log().mean((0, 2))
    head.out.bias.zero_()
    head.out.bias[: len(log_magnitude)] = log_magnitude
