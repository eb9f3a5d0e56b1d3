"""A pre-norm transformer in which each step sees a window of the steps before it.

Every layer is `project`, attention, `mix`; all but the attention works on each step alone, so that
packs (`xy_codec/engine/causal.py`) run the same layers with an attention of their own.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.layer_scale import LayerScale
from xy_codec.blocks.rotary import Rotation, frequencies_of, rotate, rotation_at

# Of inputs to one product. In tiles of 512 steps, 5,120 inputs gave other bits with two threads.
_MOST_INPUTS = 1024


class CausalAttention(nn.Module):
    """The two products around the attention: queries, keys and values joined, and the output."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def project(self, steps: Tensor, rotation: Rotation) -> Tensor:
        """Steps `[.., T, D]` to rotated queries, rotated keys and values `[.., T, 3, H, D / H]`."""
        qkv = self.in_proj(steps).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.unbind(-3)
        return torch.stack((rotate(query, rotation), rotate(key, rotation), value), dim=-3)


class CausalLayer(nn.Module):
    """x + scale * attention(norm(x)), then x + scale * mlp(norm(x)); no product has a bias."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = CausalAttention(width, num_heads)
        self.layer_scale_1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)
        self.layer_scale_2 = LayerScale(width)

    def project(self, steps: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """What attention needs of steps `[.., T, D]`: `[.., T, 3, H, D / H]`."""
        return self.self_attn.project(self.norm1(steps), Rotation(cos, sin))

    def mix(self, steps: Tensor, attended: Tensor) -> Tensor:
        """Steps `[.., T, D]` with the attention's result `[.., T, H, D / H]` to those after it."""
        steps = steps + self.layer_scale_1(self.self_attn.out_proj(attended.flatten(-2)))
        hidden = F.gelu(self.linear1(self.norm2(steps)))
        mixed: Tensor = steps + self.layer_scale_2(_multiply(hidden, self.linear2.weight))
        return mixed


class CausalTransformer(nn.Module):
    """Layers over one window; no norm after the last of them.

    Attributes:
        window: How many steps a step sees, itself included.
        frequencies: Of the rotations, which `max_period` decides.
    """

    frequencies: Tensor

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        num_layers: int,
        window: int,
        max_period: float = 10_000,
    ) -> None:
        super().__init__()
        self.window = window
        # Not in a checkpoint, and of the CPU also where a model is built on the meta device.
        frequencies = frequencies_of(width // num_heads, max_period)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.ModuleList(
            CausalLayer(width, num_heads, hidden) for _ in range(num_layers)
        )

    def causal_layers(self) -> list[CausalLayer]:
        """The layers, in order."""
        return [cast(CausalLayer, layer) for layer in self.layers]

    def rotation(self, positions: Tensor) -> Rotation:
        """The rotation of all layers at positions `[T]` counted from the clip's start."""
        return rotation_at(positions, self.frequencies)

    def forward(self, steps: Tensor) -> Tensor:
        """Transform steps `[B, T, D]`; memory for the attention grows with the square of T.

        Clips that end earlier need no mask: no step sees what comes after it.
        """
        num_steps = steps.shape[1]
        rotation = self.rotation(torch.arange(num_steps, device=steps.device))
        mask = window_mask(num_steps, num_steps, self.window, steps.device)
        for layer in self.causal_layers():
            query, key, value = layer.project(steps, *rotation).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            steps = layer.mix(steps, attended.transpose(1, 2))
        return steps


def window_mask(num_queries: int, num_keys: int, window: int, device: torch.device) -> Tensor:
    """0 where a query sees a key, -inf elsewhere: `[queries, keys]`, to be added to scores.

    The queries belong to the last of the keys; each sees `window` keys, its own the last of them.
    """
    queries = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    distance = queries - torch.arange(num_keys, device=device)
    is_seen = (distance >= 0) & (distance < window)
    return torch.zeros(is_seen.shape, device=device).masked_fill_(~is_seen, float("-inf"))


def _multiply(steps: Tensor, weight: Tensor) -> Tensor:
    """Steps `[.., in]` times `[out, in]`, as a sum over parts of the inputs.

    Libraries divide a product of many inputs among threads, and the sum then depends on how many.
    """
    parts = torch.split(steps.flatten(0, -2), _MOST_INPUTS, dim=-1)
    matrices = torch.split(weight.t(), _MOST_INPUTS)
    total = parts[0] @ matrices[0]
    for inputs, matrix in zip(parts[1:], matrices[1:], strict=True):
        total = torch.addmm(total, inputs, matrix)
    return total.view(*steps.shape[:-1], -1)
