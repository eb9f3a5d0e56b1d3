"""The model as packs run it, made from the weights of the plain modules.

Every product is one matrix over steps `[S, D]`: queries, keys and values joined, convolutions with
the neighbours of a step beside it. The plain modules are used up: once a layer is packed its plain
form goes, so that a model is not in memory twice.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine.layout import Layout
from xy_codec.xy.ablation_vocoders import UpsamplingVocoder
from xy_codec.xy.adapter import Adapter
from xy_codec.xy.decoder import AcousticDecoder
from xy_codec.xy.downsample import Downsample
from xy_codec.xy.encoder import Encoder
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.transformer import Block, Transformer
from xy_codec.xy.vocoder import ConvNeXtBlock, SpectrumHead, Vocoder


class Matrix(nn.Module):
    """Steps `[S, in]` times a matrix `[out, in]`, plus a bias, in the precision of `dtype`."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        # Buffers, which a CUDA graph may take to be the same at every replay.
        self.register_buffer("weight", weight.detach().to(dtype).contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype))

    def forward(self, steps: Tensor) -> Tensor:
        """Multiply."""
        return F.linear(steps.to(self.weight.dtype), self.weight, self.bias)


def _linear(layer: nn.Linear, dtype: torch.dtype) -> Matrix:
    return Matrix(layer.weight, layer.bias, dtype)


def _joined(layers: Sequence[nn.Linear], dtype: torch.dtype) -> Matrix:
    """One matrix that gives the results of several layers side by side."""
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [
        weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
        for layer, weight in zip(layers, weights, strict=True)
    ]
    return Matrix(torch.cat(weights), torch.cat(biases), dtype)


def _conv(layer: nn.Conv1d, dtype: torch.dtype) -> Matrix:
    """A convolution `[out, in, k]` for steps that hold k neighbours side by side."""
    return Matrix(layer.weight.transpose(1, 2).flatten(1), layer.bias, dtype)


def _deconv(layer: nn.ConvTranspose1d, dtype: torch.dtype) -> Matrix:
    """A transposed convolution `[in, out, k]` of stride 1: the step k back meets tap k."""
    return Matrix(layer.weight.permute(1, 2, 0).flatten(1), layer.bias, dtype)


def _spread(layer: nn.ConvTranspose1d, dtype: torch.dtype) -> Matrix:
    """A transposed convolution `[in, out, k]` that gives its k results side by side, unsummed.

    Without the bias, which belongs to the sums.
    """
    return Matrix(layer.weight.permute(2, 1, 0).flatten(0, 1), None, dtype)


def merge_steps(steps: Tensor, factor: int) -> Tensor:
    """`[S, D]` to `[S / factor, factor * D]`: consecutive steps side by side."""
    return steps.reshape(len(steps) // factor, -1)


def split_steps(steps: Tensor, factor: int) -> Tensor:
    """The inverse of `merge_steps`."""
    return steps.reshape(len(steps) * factor, -1)


class PackedBlock(nn.Module):
    """`Block` over packs: everything but the attention itself is stepwise."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        attention = block.self_attn
        self.num_heads = attention.num_heads
        self.qkv = _joined((attention.q_proj, attention.k_proj, attention.v_proj), dtype)
        self.out_proj = _linear(attention.out_proj, dtype)
        self.self_attn_layer_norm = block.self_attn_layer_norm
        self.fc1 = _linear(block.fc1, dtype)
        self.fc2 = _linear(block.fc2, dtype)
        self.final_layer_norm = block.final_layer_norm

    def forward(self, steps: Tensor, layout: Layout) -> Tensor:
        """One layer."""

        def mix(steps: Tensor, attended: Tensor) -> Tensor:
            steps = steps + self.out_proj(attended)
            hidden = self.fc1(layout.norm(self.final_layer_norm, steps))
            mixed: Tensor = steps + self.fc2(F.gelu(hidden))
            return mixed

        qkv = layout.stepwise(
            lambda part: self.qkv(layout.norm(self.self_attn_layer_norm, part)), steps
        )
        return layout.stepwise(mix, steps, layout.attend(qkv, self.num_heads))


class PackedTransformer(nn.Module):
    """`Transformer` over packs; takes the plain one's blocks away as it goes."""

    positional_embedding: Tensor

    def __init__(self, plain: Transformer, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", plain.positional_embedding)
        self.layers = nn.ModuleList()
        while len(plain.layers):
            self.layers.append(PackedBlock(cast(Block, plain.layers.pop(0)), dtype))
        self.layer_norm = plain.layer_norm

    def forward(self, steps: Tensor, layout: Layout) -> Tensor:
        """Transform steps that are already of this width."""
        steps = layout.add_positions(steps, self.positional_embedding)
        for block in self.layers:
            steps = block(steps, layout)
        return layout.stepwise(self.layer_norm, steps)


class PackedMelEncoder(PackedTransformer):
    """`Encoder` over packs."""

    def __init__(self, plain: Encoder, dtype: torch.dtype) -> None:
        super().__init__(plain, dtype)
        self.conv1 = _conv(plain.conv1, dtype)
        self.conv2 = _conv(plain.conv2, dtype)

    def forward(self, mel: Tensor, layout: Layout) -> Tensor:
        """Mel steps with their neighbours, at 100 Hz, to tokens at 50 Hz, whose layout it takes."""
        steps = layout.faster(2).stepwise(lambda part: F.gelu(self.conv1(part)), mel)
        taps = layout.pairs_with_before(steps)
        tokens = layout.stepwise(lambda part: F.gelu(self.conv2(part)), taps)
        return super().forward(tokens, layout)


class PackedAdapter(PackedTransformer):
    """`Adapter` over packs."""

    def __init__(self, plain: Adapter, dtype: torch.dtype) -> None:
        super().__init__(plain, dtype)
        self.proj = _linear(plain.proj, dtype) if plain.proj else None
        self.out_proj = _linear(plain.out_proj, dtype) if plain.out_proj else None

    def forward(self, steps: Tensor, layout: Layout) -> Tensor:
        """Steps of the input width to steps of the output width."""
        if self.proj is not None:
            steps = layout.stepwise(self.proj, steps)
        steps = super().forward(steps, layout)
        return steps if self.out_proj is None else layout.stepwise(self.out_proj, steps)


class PackedDownsample(nn.Module):
    """`Downsample` over packs."""

    def __init__(self, plain: Downsample, dtype: torch.dtype) -> None:
        super().__init__()
        self.factor = plain.factor
        self.gate_proj = _conv(plain.gate_proj, dtype)
        self.up_proj = _conv(plain.up_proj, dtype)
        self.down_proj = _linear(plain.down_proj, dtype)
        self.layer_norm = plain.layer_norm

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Tokens to frames; `layout` is that of the frames."""
        return layout.stepwise(self._gate, merge_steps(tokens, self.factor))

    def _gate(self, steps: Tensor) -> Tensor:
        gated = F.silu(self.gate_proj(steps)) * self.up_proj(steps)
        frames: Tensor = self.layer_norm(self.down_proj(gated) + steps)
        return frames


class PackedEncoder(nn.Module):
    """The encoding half of the model: log-mel of a pack to codes.

    Matrix products before the quantiser run in `dtype`; all else stays in float32.
    """

    def __init__(self, model: XYTokenizer, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.mel = model.mel
        self.semantic_encoder = PackedMelEncoder(model.semantic_encoder, dtype)
        self.semantic_encoder_adapter = PackedAdapter(model.semantic_encoder_adapter, dtype)
        self.acoustic_encoder = PackedMelEncoder(model.acoustic_encoder, dtype)
        self.pre_rvq_adapter = PackedAdapter(model.pre_rvq_adapter, dtype)
        self.downsample = PackedDownsample(model.downsample, dtype)
        projection = model.quantizer.input_proj
        self.input_proj = Matrix(projection.matrix(), projection.bias, torch.float32)
        self.quantizer = model.quantizer

    @property
    def is_half(self) -> bool:
        """Whether values may become too large for their type."""
        return self.dtype is not torch.float32

    def forward(self, mel: Tensor, layout: Layout, num_codebooks: int) -> Tensor:
        """Mel steps to int16 codes `[frames of the pack, K]`; `layout` is that of the tokens.

        In half precision a frame whose values are not finite has codes of -1.
        """

        def choose(steps: Tensor) -> Tensor:
            latents = self.input_proj(steps)
            codes = self.quantizer.choose(latents, num_codebooks)
            return where_finite(codes, latents) if self.is_half else codes

        frames = layout.slower(self.downsample.factor)
        return frames.stepwise(choose, self.embed(mel, layout)).short()

    def embed(self, mel: Tensor, layout: Layout) -> Tensor:
        """Mel steps to the frames that are to be quantised."""
        taps = layout.faster(2).with_neighbours(mel).to(self.dtype)
        semantic = self.semantic_encoder_adapter(self.semantic_encoder(taps, layout), layout)
        both = torch.cat((semantic, self.acoustic_encoder(taps, layout)), dim=-1)
        frames = layout.slower(self.downsample.factor)
        embedded: Tensor = self.downsample(self.pre_rvq_adapter(both, layout), frames)
        return embedded


def where_finite(codes: Tensor, latents: Tensor) -> Tensor:
    """Codes `[.., K]`; -1 where the latents `[.., D]` that they are chosen for are not finite."""
    length = torch.linalg.vector_norm(latents, dim=-1, keepdim=True)
    return torch.where(length < math.inf, codes, -1)


class PackedAcousticDecoder(PackedTransformer):
    """`AcousticDecoder` over packs."""

    def __init__(self, plain: AcousticDecoder) -> None:
        super().__init__(plain, torch.float32)
        self.deconv1 = _spread(plain.deconv1, torch.float32)
        self.deconv1_bias = cast(Tensor, plain.deconv1.bias)
        self.deconv2 = _deconv(plain.deconv2, torch.float32)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Tokens to twice as many features; `layout` is that of the tokens."""
        tokens = super().forward(tokens, layout)
        current, odd, carried = layout.stepwise(self.deconv1, tokens).chunk(3, dim=-1)
        pairs = torch.cat((current + layout.shift(carried, 1), odd), dim=-1)
        bias = self.deconv1_bias.repeat(2)
        hidden = split_steps(layout.stepwise(lambda part: F.gelu(part + bias), pairs), 2)
        frames = layout.faster(2)
        taps = torch.cat((hidden, frames.shift(hidden, 1), frames.shift(hidden, 2)), dim=-1)
        return frames.stepwise(lambda part: F.gelu(self.deconv2(part)), taps)


class PackedConvNeXtBlock(nn.Module):
    """`ConvNeXtBlock` over packs."""

    def __init__(self, plain: ConvNeXtBlock) -> None:
        super().__init__()
        self.gamma = plain.gamma
        self.dwconv = plain.dwconv
        self.norm = plain.norm
        self.pwconv1 = _linear(plain.pwconv1, torch.float32)
        self.pwconv2 = _linear(plain.pwconv2, torch.float32)

    def forward(self, steps: Tensor, layout: Layout) -> Tensor:
        """One block."""
        return layout.stepwise(self._widen, steps, layout.depthwise(steps, self.dwconv))

    def _widen(self, steps: Tensor, mixed: Tensor) -> Tensor:
        hidden = F.gelu(self.pwconv1(self.norm(mixed)))
        widened: Tensor = steps + self.gamma * self.pwconv2(hidden)
        return widened


class PackedVocoder(nn.Module):
    """`Vocoder` over packs, up to the spectra; `to_samples` of the head takes a whole clip's."""

    def __init__(self, plain: Vocoder) -> None:
        super().__init__()
        backbone = plain.backbone
        self.half_kernel = backbone.embed.kernel_size[0] // 2
        self.embed = _conv(backbone.embed, torch.float32)
        self.norm = backbone.norm
        self.convnext = nn.ModuleList(
            PackedConvNeXtBlock(cast(ConvNeXtBlock, block)) for block in backbone.convnext
        )
        self.final_layer_norm = backbone.final_layer_norm
        self.out = _linear(plain.head.out, torch.float32)

    def forward(self, features: Tensor, layout: Layout) -> Tensor:
        """Features to spectra `[log magnitude | phase]`, one a step."""
        shifts = range(self.half_kernel, -self.half_kernel - 1, -1)
        taps = torch.cat([layout.shift(features, by) for by in shifts], dim=-1)
        steps = layout.stepwise(lambda part: self.norm(self.embed(part)), taps)
        for block in self.convnext:
            steps = block(steps, layout)
        return layout.stepwise(self.out, layout.stepwise(self.final_layer_norm, steps))


class PackedDecoder(nn.Module):
    """The decoding half of the model, all in float32: codes of a pack to spectra."""

    def __init__(self, model: XYTokenizer) -> None:
        super().__init__()
        self.quantizer = model.quantizer
        projection = model.quantizer.output_proj
        self.output_proj = Matrix(projection.matrix(), projection.bias, torch.float32)
        self.post_rvq_adapter = PackedAdapter(model.post_rvq_adapter, torch.float32)
        self.factor = model.upsample.factor
        self.up_conv = _spread(model.upsample.up_conv, torch.float32)
        self.acoustic_decoder = PackedAcousticDecoder(model.acoustic_decoder)
        # Ablations' vocoders are not packed: what makes their samples takes features.
        plain = model.vocos
        self.vocoder = PackedVocoder(plain) if isinstance(plain, Vocoder) else None
        self.head: SpectrumHead | UpsamplingVocoder = (
            plain.head if isinstance(plain, Vocoder) else plain
        )

    def forward(self, indices: Tensor, layout: Layout) -> Tensor:
        """Codes `[frames of the pack, K']` to what `head` takes; `layout` is that of the tokens."""
        frames = layout.slower(self.factor)
        return self.reconstruct(frames.stepwise(self.quantizer.add_up, indices), layout)

    def reconstruct(self, entries: Tensor, layout: Layout) -> Tensor:
        """Sums of entries `[frames of the pack, D]` to spectra."""
        frames = layout.slower(self.factor)
        steps = self.post_rvq_adapter(frames.stepwise(self.output_proj, entries), frames)
        tokens = split_steps(frames.stepwise(self.up_conv, steps), self.factor)
        features: Tensor = self.acoustic_decoder(tokens, layout)
        return features if self.vocoder is None else self.vocoder(features, layout.faster(2))
