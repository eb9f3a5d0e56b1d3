"""Decoding as one program of one shape: codes of all clips of a pack to their samples.

As in `pack_program.py`, no operation is a clip's. Everything is in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.contract import Codes
from xy_codec.engine.attention import BLOCK_FIELDS, fill_blocks, num_blocks
from xy_codec.engine.block_layout import BlockLayout
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.layout import Layout, Span
from xy_codec.engine.pack_memory import Arrays, PackMemory, Shapes
from xy_codec.errors import ConfigError
from xy_codec.xy.config import FRAME_TOKENS
from xy_codec.xy.packed_model import PackedDecoder
from xy_codec.xy.vocoder import SpectrumHead, spectrum_of

# Steps a frame where the model works: frames, tokens, features.
_RATES = (1, FRAME_TOKENS, 2 * FRAME_TOKENS)


class CodedTensors(NamedTuple):
    """A pack of F frames of codes, of at most C clips.

    Attributes:
        indices: `[F, K]`, each frame's entries; where it has none, the one behind the last.
        place: `[F]`, each frame's position in its clip.
        blocks: of frames, of tokens and of features: which clip has which, see
            `engine/attention.py`.
    """

    indices: Tensor
    place: Tensor
    blocks: tuple[Tensor, ...]


@dataclass(frozen=True)
class CodedInputs(PackMemory):
    """Sizes of the parts, and how they are filled."""

    geometry: Geometry
    num_codebooks: int
    codebook_size: int

    @property
    def num_frames(self) -> int:
        """Frames of a pack."""
        return self.geometry.pack_steps // FRAME_TOKENS

    def shapes(self) -> Shapes:
        """Type and shape of each of the `CodedTensors`."""
        clips = self.geometry.most_clips
        counts = [num_blocks(self.num_frames * rate, clips, torch.float32) for rate in _RATES]
        return [
            (np.int32, (self.num_frames, self.num_codebooks)),
            (np.int32, (self.num_frames,)),
            *((np.int32, (count, BLOCK_FIELDS)) for count in counts),
        ]

    def fill(self, parts: Arrays, matrices: Sequence[Codes]) -> None:
        """Write codes `[K', T]` of clips, end to end, into the parts of a memory."""
        indices, place, *blocks = parts
        indices[:], place[:] = self.codebook_size, 0
        spans, start = [], 0
        for codes in matrices:
            depth, length = codes.shape
            own = slice(start, start + length)
            indices[own, :depth] = codes.T
            place[own] = np.arange(length)
            spans.append(Span(start, length, length))
            start += length
        for rate, part in zip(_RATES, blocks, strict=True):
            scaled = [span.scaled(rate, 1) for span in spans]
            fill_blocks(part, scaled, self.num_frames * rate, torch.float32)


class CodedLayout(BlockLayout):
    """Clips of a pack at one of the rates; it knows those at the others."""

    def __init__(
        self, place: Tensor, blocks: Tensor, number: int, others: "Sequence[CodedLayout]"
    ) -> None:
        super().__init__(place, blocks)
        self._number = number
        self._others = others

    def faster(self, _factor: int) -> "CodedLayout":
        """The same clips at the next higher rate."""
        return self._others[self._number + 1]

    def slower(self, _factor: int) -> "CodedLayout":
        """The same clips at the next lower rate."""
        return self._others[self._number - 1]


def lay_out_coded(pack: CodedTensors) -> Sequence[CodedLayout]:
    """The layouts of frames, tokens and features."""
    made: list[CodedLayout] = []
    for number, (rate, blocks) in enumerate(zip(_RATES, pack.blocks, strict=True)):
        steps = torch.arange(rate, dtype=torch.int32, device=pack.place.device)
        place = (pack.place[:, None] * rate + steps).flatten()
        made.append(CodedLayout(place, blocks, number, made))
    return made


class DecodeProgram(nn.Module):
    """Codes of a pack to samples `[F, samples a frame]`; frames of no clip give what is no sound.

    For decoders that end in Vocos. Any depth is decoded: the entry behind the last of a codebook
    is zeros.
    """

    def __init__(self, decoder: PackedDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        for number, book in enumerate(decoder.quantizer.codebooks()):
            self.register_buffer(f"entries{number}", F.pad(book.codebook, (0, 0, 0, 1)))
        self.istft = istft = cast(SpectrumHead, decoder.head).istft
        if istft.n_fft % istft.hop_length or istft.hop_length % 2:
            raise ConfigError(
                f"The vocoder has spectra of {istft.n_fft} samples, {istft.hop_length} apart; "
                "packs of one shape are decoded with a whole number of even hops. Leave out "
                "`--compile` and the codec's option `program`."
            )

    def forward(self, indices: Tensor, place: Tensor, *blocks: Tensor) -> Tensor:
        """The samples of a pack."""
        _, tokens, features = lay_out_coded(CodedTensors(indices, place, blocks))
        spectra = self.decoder.reconstruct(self._add_up(indices), tokens)
        istft = self.istft
        frames = istft.frames_of(spectrum_of(spectra))
        energy = istft.window.square().expand(len(frames), -1)
        added, divisor = (
            add_overlaps(part, istft.hop_length, features) for part in (frames, energy)
        )
        return (added / divisor).view(len(indices), -1)

    def _add_up(self, indices: Tensor) -> Tensor:
        """The sums `[F, D]` of entries."""
        looked_up = (
            F.embedding(column, self.get_buffer(f"entries{number}"))
            for number, column in enumerate(indices.unbind(1))
        )
        return reduce(torch.add, looked_up)


def add_overlaps(frames: Tensor, hop: int, layout: Layout) -> Tensor:
    """Frames `[S, n_fft]`, a hop apart, to samples `[S, hop]`, with the edges of each clip cut.

    A frame's middle is that of its hop, so the borders of hops and frames are half a hop apart
    where `n_fft` is an even number of hops. Parts of a sample are added in the order of `F.fold`.
    """
    hops = frames.shape[1] // hop
    parts = frames.view(len(frames), 2 * hops, hop // 2)
    halves = []
    for half in (0, 1):
        middle = hops - 1 + half
        meeting = range(middle % 2, 2 * hops, 2)
        moved = (layout.shift(parts[:, part], (part - middle) // 2) for part in meeting)
        halves.append(reduce(torch.add, moved))
    return torch.cat(halves, dim=1)
