"""A transformer with projections where its width differs from its neighbours'."""

from torch import Tensor, nn

from xy_codec.blocks.causal_transformer import CausalTransformer
from xy_codec.moss.config import TransformerConfig


class ProjectedTransformer(nn.Module):
    """Optional projection in, transformer, optional projection out, all at one rate."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        into, width, out = config.input_dimension, config.d_model, config.output_dimension
        self.input_proj = nn.Linear(into, width, bias=False) if into != width else None
        self.transformer = CausalTransformer(
            width,
            config.num_heads,
            config.dim_feedforward,
            config.num_layers,
            config.window,
            config.max_period,
        )
        self.output_proj = nn.Linear(width, out, bias=False) if width != out else None

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[B, T, input width]` to steps of the output width."""
        if self.input_proj is not None:
            steps = self.input_proj(steps)
        steps = self.transformer(steps)
        return steps if self.output_proj is None else self.output_proj(steps)
