"""The adapter: a transformer with projections where its widths differ from its neighbours'."""

from torch import Tensor

from xy_codec.engine.layout import Layout
from xy_codec.engine.product import Linear
from xy_codec.xy.config import AdapterConfig
from xy_codec.xy.transformer import Stack


class Adapter(Stack):
    """Optional projection in, transformer, optional projection out, all at one rate."""

    proj: Linear | None
    out_proj: Linear | None

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__(
            config.d_model,
            config.encoder_attention_heads,
            config.encoder_ffn_dim,
            config.encoder_layers,
            config.max_source_positions,
        )
        into, out = config.input_dim, config.output_dim
        width = config.d_model
        self.proj = Linear(into, width) if into != width else None
        self.out_proj = Linear(width, out) if out != width else None

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """Rows of the input width to rows of the output width."""
        if self.proj is not None:
            rows = layout.rowwise(self.proj, rows)
        rows = self.run_stack(rows, layout)
        return rows if self.out_proj is None else layout.rowwise(self.out_proj, rows)
