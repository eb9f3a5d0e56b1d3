"""The encoder as one program of one shape: samples of all clips of a pack to codes.

No operation is a clip's: where clips lie is known to tensors only, so every pack is the same
sequence of operations. `engine/pack_runner.py` runs it, on CUDA as a graph. `decode_program.py` is
the way back.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine import layer_norm  # noqa: F401  # it defines an operation
from xy_codec.engine.block_layout import BlockLayout
from xy_codec.xy.mel import DYNAMIC_RANGE, FLOOR
from xy_codec.xy.pack_inputs import PackTensors
from xy_codec.xy.packed_model import PackedEncoder, where_finite
from xy_codec.xy.quantizer import ResidualQuantizer


class MappedLayout(BlockLayout):
    """Clips of a pack at the rate of the tokens, and where their mel frames are."""

    def __init__(self, pack: PackTensors, pairs: Tensor, dtype: torch.dtype) -> None:
        super().__init__(pack.place, pack.blocks)
        self._pack = pack
        self._pairs = pairs
        self._dtype = dtype

    def norm(self, norm: nn.LayerNorm, steps: Tensor) -> Tensor:
        """Normalise steps into the precision of matrix products."""
        if self._dtype is not torch.float16:
            return super().norm(norm, steps)
        normed: Tensor = torch.ops.xytok.norm_into_half(steps, norm.weight, norm.bias, norm.eps)
        return normed

    def with_neighbours(self, steps: Tensor) -> Tensor:
        """Of the rows of mel frames, the frames `[2 S, 3 M]` with their neighbours."""
        return steps.index_select(0, self._pack.taps.flatten()).view(len(self._pack.taps), -1)

    def pairs_with_before(self, steps: Tensor) -> Tensor:
        """Two steps of twice the rate and the one before, which is 0 at a clip's start."""
        taps = steps.index_select(0, self._pairs).index_fill_(0, self._pack.starts, 0.0)
        return taps.view(len(self.place), -1)

    def faster(self, _factor: int) -> Self:
        """Encoding asks for neighbours of mel frames there, and for nothing else."""
        return self

    def slower(self, _factor: int) -> Self:
        """Encoding asks there for what is stepwise only."""
        return self


class PackQuantizer(nn.Module):
    """`ResidualQuantizer` in fewer operations: what is the same for all entries is left out."""

    def __init__(self, plain: ResidualQuantizer, depth: int) -> None:
        super().__init__()
        self.depth = depth
        for number, book in enumerate(plain.codebooks(depth)):
            self.register_buffer(f"entries{number}", book.codebook)
            self.register_buffer(f"lengths{number}", book.codebook.square().sum(-1))

    def forward(self, latents: Tensor) -> Tensor:
        """Indices `[.., K]` of the nearest entries to latents `[.., D]`, book after book."""
        indices: list[Tensor] = []
        for number in range(self.depth):
            entries = self.get_buffer(f"entries{number}")
            lengths = self.get_buffer(f"lengths{number}")
            # The square of the distance, without that of the latent.
            distance = torch.addmm(lengths, latents, entries.t(), alpha=-2.0)
            indices.append(distance.argmin(-1))
            if number + 1 < self.depth:
                latents = latents - F.embedding(indices[-1], entries)
        return torch.stack(indices, dim=-1)


class PackProgram(nn.Module):
    """Samples of a pack to its int16 codes `[frames, K]`."""

    floor: Tensor
    pairs: Tensor

    def __init__(self, encoder: PackedEncoder, depth: int, num_steps: int, most_clips: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = PackQuantizer(encoder.quantizer, depth)
        device = encoder.mel.window.device
        floor = torch.full((most_clips + 1,), FLOOR).log10()
        self.register_buffer("floor", floor.to(device))
        # Token t reads the frames 2 t - 1 to 2 t + 1; the first has none before it.
        pairs = torch.arange(num_steps)[:, None] * 2 + torch.tensor([-1, 0, 1])
        self.register_buffer("pairs", pairs.clamp(min=0).flatten().int().to(device))

    def forward(self, *parts: Tensor) -> Tensor:
        """The codes of a pack; frames of no clip have codes that mean nothing."""
        pack = PackTensors(*parts)
        return self.encode(self.log_mel(pack), pack)

    def encode(self, mel: Tensor, pack: PackTensors) -> Tensor:
        """Rows of log-mel frames to the codes of a pack."""
        layout = MappedLayout(pack, self.pairs, self.encoder.dtype)
        latents = self.encoder.input_proj(self.encoder.embed(mel, layout))
        codes: Tensor = self.quantizer(latents)
        return (where_finite(codes, latents) if self.encoder.is_half else codes).short()

    def log_mel(self, pack: PackTensors) -> Tensor:
        """Rows of log-mel frames, each clip's floored below its own maximum; 0 between clips."""
        mel = self.encoder.mel
        frames = pack.samples.unfold(0, mel.n_fft, mel.hop_length) * mel.window
        power = torch.fft.rfft(frames).abs() ** 2
        rows = (power @ mel.filters.t()).clamp(min=FLOOR).log10()
        loudest = self.floor.scatter_reduce(0, pack.clip_of_row, rows.amax(1), "amax")
        least = (loudest - DYNAMIC_RANGE).index_select(0, pack.clip_of_row)
        one, quarter = pack.scale
        return torch.addcmul(one[:, None], torch.maximum(rows, least[:, None]), quarter[:, None])
