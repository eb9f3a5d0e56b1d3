"""The pre-norm transformer that encoders, adapters and the decoder share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.padding import valid_steps, zero_padding

# Finite, so that a clip without any valid step gets numbers and not NaN.
_HIDDEN = -1e4


class Attention(nn.Module):
    """Full attention inside each clip; keys have no bias."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, steps: Tensor, valid: Tensor | None) -> Tensor:
        """Mix steps `[B, T, D]`; only those that are `valid` `[B, T]` are seen."""
        query, key, value = (
            projection(steps).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mix = plain_attention if steps.device.type == "cpu" else fused_attention
        attended: Tensor = self.out_proj(mix(query, key, value, valid).transpose(1, 2).flatten(2))
        return attended


def fused_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
    """Mix `[B, heads, T, D]` without ever holding all scores `[B, heads, T, T]`."""
    mask = None if valid is None else valid[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def plain_attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
    """The same for CPUs, one clip at a time, whose scores fit into their caches."""
    mixed = []
    for clip in range(len(query)):
        scores = query[clip] * query.shape[-1] ** -0.5 @ key[clip].mT
        if valid is not None:
            scores = scores.masked_fill(~valid[clip], _HIDDEN)
        mixed.append(scores.softmax(-1) @ value[clip])
    return torch.stack(mixed)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, valid: Tensor | None) -> Tensor:
        """One layer."""
        steps = steps + self.self_attn(self.self_attn_layer_norm(steps), valid)
        mixed: Tensor = steps + self.fc2(F.gelu(self.fc1(self.final_layer_norm(steps))))
        return mixed


class Transformer(nn.Module):
    """Positions, blocks, a last norm, and zeros beyond each clip's length."""

    positional_embedding: Tensor

    def __init__(
        self, width: int, num_heads: int, hidden: int, num_layers: int, num_positions: int
    ) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", sinusoids(num_positions, width))
        self.layers = nn.ModuleList(Block(width, num_heads, hidden) for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Transform steps `[B, T, D]`, of which clip i has `lengths[i]`."""
        valid = valid_steps(lengths, steps.shape[1])
        steps = steps + self.positional_embedding[: steps.shape[1]]
        for block in self.layers:
            steps = block(steps, valid)
        return zero_padding(self.layer_norm(steps), valid)


def sinusoids(num_positions: int, width: int) -> Tensor:
    """The positional table `[num_positions, width]`: sines, then cosines, all in float32."""
    step = math.log(10000.0) / (width // 2 - 1)
    rates = torch.exp(-step * torch.arange(width // 2, dtype=torch.float32))
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
