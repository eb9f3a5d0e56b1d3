"""The adapter: a transformer with projections where its widths differ from its neighbours'."""

from torch import Tensor, nn

from xy_codec.xy.config import AdapterConfig
from xy_codec.xy.transformer import Transformer


class Adapter(Transformer):
    """Optional projection in, transformer, optional projection out, all at one rate."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(
            config.d_model,
            config.encoder_attention_heads,
            config.encoder_ffn_dim,
            config.encoder_layers,
            config.max_source_positions,
        )
        into, width, out = config.input_dim, config.d_model, config.output_dim
        self.proj = nn.Linear(into, width) if into != width else None
        self.out_proj = nn.Linear(width, out) if out != width else None

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Steps `[B, T, input width]`, of which clip i has `lengths[i]`, to the output width."""
        if self.proj is not None:
            steps = self.proj(steps)
        steps = super().forward(steps, lengths)
        return steps if self.out_proj is None else self.out_proj(steps)
