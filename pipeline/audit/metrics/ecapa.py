"""ECAPA-TDNN head of the WavLM verifiers, named so that their published checkpoints load."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-9


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, batch norm over `[B, C, T]`."""

    def __init__(self, width_in: int, width_out: int, kernel: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width_in, width_out, kernel, padding=padding)
        self.bn = nn.BatchNorm1d(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all three."""
        out: Tensor = self.bn(F.relu(self.conv(x)))
        return out


class MultiScaleConv(nn.Module):
    """Res2 convolution: each slice of channels also sees the result of the one before it."""

    def __init__(self, width: int, dilation: int, scale: int) -> None:
        super().__init__()
        self.slice = width // scale
        self.convs = nn.ModuleList(
            nn.Conv1d(self.slice, self.slice, 3, padding=dilation, dilation=dilation)
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.slice) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve slice by slice; the last slice passes through."""
        slices = torch.split(x, self.slice, dim=1)
        outputs: list[Tensor] = []
        for index, (conv, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            mixed = slices[index] + outputs[-1] if outputs else slices[index]
            outputs.append(norm(F.relu(conv(mixed))))
        return torch.cat([*outputs, slices[-1]], dim=1)


class ChannelGate(nn.Module):
    """Squeeze and excitation: weighs channels by their mean over time."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, bottleneck)
        self.linear2 = nn.Linear(bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of `[B, C, T]`."""
        weights = torch.sigmoid(self.linear2(F.relu(self.linear1(x.mean(dim=2)))))
        return x * weights[..., None]


class Block(nn.Module):
    """A residual block; attribute names are those of the checkpoints."""

    def __init__(self, width: int, dilation: int, scale: int, bottleneck: int) -> None:
        super().__init__()
        self.Conv1dReluBn1 = ConvReluNorm(width, width)
        self.Res2Conv1dReluBn = MultiScaleConv(width, dilation, scale)
        self.Conv1dReluBn2 = ConvReluNorm(width, width)
        self.SE_Connect = ChannelGate(width, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block finds to its input."""
        inner = self.Conv1dReluBn2(self.Res2Conv1dReluBn(self.Conv1dReluBn1(x)))
        out: Tensor = x + self.SE_Connect(inner)
        return out


class AttentivePooling(nn.Module):
    """Mean and standard deviation over time, weighted by attention: `[B, C, T]` → `[B, 2C]`."""

    def __init__(self, width: int, attention: int) -> None:
        super().__init__()
        self.linear1 = nn.Conv1d(width, attention, 1)
        self.linear2 = nn.Conv1d(attention, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool over time."""
        weights = torch.softmax(self.linear2(torch.tanh(self.linear1(x))), dim=2)
        mean = (weights * x).sum(dim=2)
        variance = (weights * x**2).sum(dim=2) - mean**2
        return torch.cat([mean, variance.clamp(min=_EPSILON).sqrt()], dim=1)


class EcapaHead(nn.Module):
    """Hidden states of a speech model `[layers, B, T, D]` → embeddings `[B, E]`."""

    def __init__(
        self,
        layers: int,
        width_in: int,
        width: int = 512,
        pooled: int = 1536,
        embedding: int = 256,
        scale: int = 8,
        attention: int = 128,
    ) -> None:
        super().__init__()
        self.feature_weight = nn.Parameter(torch.zeros(layers))
        self.instance_norm = nn.InstanceNorm1d(width_in)
        self.layer1 = ConvReluNorm(width_in, width, kernel=5, padding=2)
        self.layer2 = Block(width, 2, scale, attention)
        self.layer3 = Block(width, 3, scale, attention)
        self.layer4 = Block(width, 4, scale, attention)
        self.conv = nn.Conv1d(3 * width, pooled, 1)
        self.pooling = AttentivePooling(pooled, attention)
        self.bn = nn.BatchNorm1d(2 * pooled)
        self.linear = nn.Linear(2 * pooled, embedding)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Weigh the layers, run the blocks, pool, project."""
        weights = torch.softmax(self.feature_weight, dim=0)
        mixed = torch.einsum("n,nbtd->bdt", weights, hidden_states) + 1e-6
        first = self.layer1(self.instance_norm(mixed))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        joined = F.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        out: Tensor = self.linear(self.bn(self.pooling(joined)))
        return out
