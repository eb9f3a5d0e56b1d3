"""Encoding and decoding as programs of one shape: samples of a pack's clips to codes, and back.

No operation is a clip's, as in `engine/causal_program.py`.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from xy_codec.engine.causal import CodedJob, SegmentJob
from xy_codec.engine.causal_program import CausalBlockLayout, SegmentInputs
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_memory import Arrays, Shapes
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.packed import decode_frames, encode_pack


class SampleInputs(SegmentInputs[SegmentJob]):
    """The samples of a pack, end to end."""

    def __init__(self, geometry: Geometry, hop: int) -> None:
        super().__init__(geometry)
        self.hop = hop

    def _own_shapes(self) -> Shapes:
        return [(np.float32, (self.geometry.pack_steps * self.hop,))]

    def _fill_own(self, parts: Arrays, jobs: Sequence[SegmentJob]) -> None:
        (samples,) = parts
        start = 0
        for job in jobs:
            own = job.samples[job.first_frame * self.hop :][: job.frames * self.hop]
            samples[start : start + len(own)] = own
            start += len(own)
        samples[start:] = 0


def encode(
    model: MossAudioTokenizer, depth: int, layout: CausalBlockLayout, parts: Sequence[Tensor]
) -> Tensor:
    """The codes `[F, K]` of a pack as int16; frames of no clip have codes that mean nothing."""
    (samples,) = parts
    return encode_pack(model, samples, layout, depth).short()


class CodeInputs(SegmentInputs[CodedJob]):
    """The codes of a pack `[F, K]`; -1 where a clip has fewer codebooks."""

    def __init__(self, geometry: Geometry, num_codebooks: int) -> None:
        super().__init__(geometry)
        self.num_codebooks = num_codebooks

    def _own_shapes(self) -> Shapes:
        return [(np.int32, (self.geometry.pack_steps, self.num_codebooks))]

    def _fill_own(self, parts: Arrays, jobs: Sequence[CodedJob]) -> None:
        (codes,) = parts
        codes[:], start = -1, 0
        for job in jobs:
            own = job.own_codes
            codes[start : start + job.frames, : len(own)] = own.T
            start += job.frames


def decode(model: MossAudioTokenizer, layout: CausalBlockLayout, parts: Sequence[Tensor]) -> Tensor:
    """Samples `[F, hop]` of a pack; frames of no clip give what is no sound."""
    (codes,) = parts
    is_missing, indices = codes < 0, codes.clamp(min=0)
    first, *others = model.quantizer.codebooks()
    total = first.lookup(indices[:, 0])
    for number, book in enumerate(others, start=1):
        entries = book.lookup(indices[:, number])
        total = total + entries.masked_fill(is_missing[:, number, None], 0.0)
    return decode_frames(model, total, layout).view(len(codes), -1)
