"""SEANet: causal convolutions between log-mel frames and tokens, in both directions."""

import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.causal_conv import CausalConv1d, CausalConvTranspose1d
from xy_codec.secousti.config import CodecConfig


class ResidualUnit(nn.Module):
    """x + narrow convolutions of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = CausalConv1d(width, width // 2, 3)
        self.conv2 = CausalConv1d(width // 2, width, 1)

    def forward(self, steps: Tensor) -> Tensor:
        """Refine steps `[B, C, T]`."""
        refined: Tensor = steps + self.conv2(F.elu(self.conv1(F.elu(steps))))
        return refined


class SeanetEncoder(nn.Module):
    """Log-mel frames to steps at the rate of the tokens."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        base, (first, second) = config.seanet_width, config.strides
        self.conv_in = CausalConv1d(config.num_mels, base, 7)
        self.unit1 = ResidualUnit(base)
        self.down1 = CausalConv1d(base, 2 * base, 2 * first, first)
        self.unit2 = ResidualUnit(2 * base)
        self.down2 = CausalConv1d(2 * base, 4 * base, 2 * second, second)
        self.conv_out = CausalConv1d(4 * base, config.width, 3)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel `[B, M, T]` of clips of one length to `[B, D, ceil(T / frames a token)]`."""
        steps = self.down1(F.elu(self.unit1(self.conv_in(mel))))
        steps = self.down2(F.elu(self.unit2(steps)))
        encoded: Tensor = self.conv_out(F.elu(steps))
        return encoded


class SeanetDecoder(nn.Module):
    """Steps at the rate of the tokens to log-mel frames."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        base, (second, first) = config.seanet_width, config.strides
        self.conv_in = CausalConv1d(config.width, 4 * base, 7)
        self.up1 = CausalConvTranspose1d(4 * base, 2 * base, 2 * first, first)
        self.unit1 = ResidualUnit(2 * base)
        self.up2 = CausalConvTranspose1d(2 * base, base, 2 * second, second)
        self.unit2 = ResidualUnit(base)
        self.conv_out = CausalConv1d(base, config.num_mels, 3)

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[B, D, T']` to log-mel `[B, M, T' * frames a token]`."""
        steps = self.unit1(self.up1(F.elu(self.conv_in(steps))))
        steps = self.unit2(self.up2(F.elu(steps)))
        mel: Tensor = self.conv_out(F.elu(steps))
        return mel
