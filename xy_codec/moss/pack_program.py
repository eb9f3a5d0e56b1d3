"""Encoding as one program of one shape: samples of all clips of a pack to codes.

No operation is a clip's, as in `engine/causal_program.py`.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from xy_codec.engine.causal import SegmentJob
from xy_codec.engine.causal_program import CausalBlockLayout, SegmentInputs
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_memory import Arrays, Shapes
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.packed import encode_pack


class SampleInputs(SegmentInputs):
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
