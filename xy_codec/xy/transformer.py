"""The pre-norm transformer stack that encoders, adapters and the decoder share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine.layout import Layout
from xy_codec.engine.product import Linear, join


class Projections(nn.Module):
    """The four projections of an attention; keys have no bias."""

    joined: Tensor | None
    joined_bias: Tensor | None

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = Linear(width, width, bias=False)
        self.v_proj = Linear(width, width)
        self.q_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.register_buffer("joined", None, persistent=False)
        self.register_buffer("joined_bias", None, persistent=False)

    def project(self, rows: Tensor) -> Tensor:
        """Rows `[q | k | v]`."""
        if self.joined is not None:
            return F.linear(rows.to(self.joined.dtype), self.joined, self.joined_bias)
        return torch.cat((self.q_proj(rows), self.k_proj(rows), self.v_proj(rows)), dim=-1)

    def freeze(self, dtype: torch.dtype) -> None:
        """Join the first three into one product."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        self.joined, self.joined_bias = join(parts, dtype)
        for part in parts:
            part.weight = part.bias = None
            part.frozen = self.joined


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Projections(width, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """One layer; everything but the attention itself is row by row."""
        projected = layout.rowwise(self._project, rows)
        attended = layout.attend(projected, self.self_attn.num_heads)
        return layout.rowwise(self._mix, rows, attended)

    def _project(self, rows: Tensor) -> Tensor:
        return self.self_attn.project(self.self_attn_layer_norm(rows))

    def _mix(self, rows: Tensor, attended: Tensor) -> Tensor:
        rows = rows + self.self_attn.out_proj(attended)
        mixed: Tensor = rows + self.fc2(F.gelu(self.fc1(self.final_layer_norm(rows))))
        return mixed


class Stack(nn.Module):
    """Positions, blocks, a last norm, and zeros beyond each clip's length."""

    positional_embedding: Tensor

    def __init__(
        self, width: int, num_heads: int, hidden: int, num_layers: int, num_positions: int
    ) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", sinusoids(num_positions, width))
        self.layers = nn.ModuleList(Block(width, num_heads, hidden) for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(width)

    def run_stack(self, rows: Tensor, layout: Layout) -> Tensor:
        """The stack on rows that are already of its width."""
        rows = layout.add_positions(rows, self.positional_embedding)
        for block in self.layers:
            rows = block(rows, layout)
        return layout.mask(layout.rowwise(self.layer_norm, rows))


def sinusoids(num_positions: int, width: int) -> Tensor:
    """The positional table `[num_positions, width]`: sines, then cosines, all in float32."""
    step = math.log(10000.0) / (width // 2 - 1)
    rates = torch.exp(-step * torch.arange(width // 2, dtype=torch.float32))
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)
