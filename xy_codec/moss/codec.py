"""MOSS-Audio-Tokenizer over packs: cuts clips into segments, which `pack_stream.py` packs.

Implements the `Codec` contract. `packed.py` is what a pack runs.
"""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from xy_codec.contract import CodecIdentity, CodedClip, Codes, Embeddings, Waveform
from xy_codec.engine.causal import CodedJob, CodedSegment, SegmentJob, coded_segments
from xy_codec.engine.causal_program import CausalRunner
from xy_codec.engine.causal_stream import CausalStream
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.packing import fill_packs
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.pack_program import CodeInputs, SampleInputs, decode, encode
from xy_codec.moss.packed import decode_pack, encode_pack

# Tiles in steps of any rate, packs in frames of 80 ms. On a CPU, tiles half as large take 5 %
# longer, and larger ones lose as much at the ends of packs. A long clip's segments fill packs. On
# a GPU nothing was measured.
CPU = Geometry(tile_steps=512, pack_steps=2048, clip_steps=1, steps_a_clip=16)
CUDA = Geometry(tile_steps=2048, pack_steps=2048, clip_steps=1, steps_a_clip=16)


class MossCodec(CausalStream):
    """A MOSS-Audio-Tokenizer; a clip's codes depend neither on its company nor on its cuts."""

    def __init__(
        self,
        model: MossAudioTokenizer,
        identity: CodecIdentity,
        device: torch.device,
        geometry: Geometry,
        *,
        as_graph: bool = False,
    ) -> None:
        super().__init__(identity, device, geometry, as_graph=as_graph)
        self.model = model

    def _pack_codes(self, jobs: Sequence[SegmentJob]) -> Tensor:
        if self.geometry.has_one_shape:
            return self._encoding(jobs)
        hop = self.shape.samples_per_frame
        layout = self._lay_out([job.segment for job in jobs])
        own = [job.samples[job.first_frame * hop :][: job.frames * hop] for job in jobs]
        samples = torch.from_numpy(np.concatenate(own)).to(self.device, non_blocking=True)
        codes = encode_pack(self.model, samples, layout, self.shape.num_codebooks)
        layout.remember()
        return codes.short()

    @cached_property
    def _encoding(self) -> CausalRunner[SegmentJob]:
        hop, depth = self.shape.samples_per_frame, self.shape.num_codebooks
        return CausalRunner(
            "encoding", partial(encode, self.model, depth), self.model.encoder,
            SampleInputs(self.geometry, hop), self.device, as_graph=self._as_graph,
        )  # fmt: skip

    @cached_property
    def _decoding(self) -> CausalRunner[CodedJob]:
        num_codebooks = self.model.config.quantizer.num_quantizers
        return CausalRunner(
            "decoding", partial(decode, self.model), self.model.decoder,
            CodeInputs(self.geometry, num_codebooks), self.device, as_graph=self._as_graph,
        )  # fmt: skip

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        hop = self.shape.output_samples_per_frame
        if self.geometry.has_one_shape:
            return self._decode_in_one_shape(clips, hop, self._decoding)
        waves = [np.empty(clip.codes.shape[1] * hop, np.float32) for clip in clips]
        for depth in sorted({len(clip.codes) for clip in clips}):
            codes = [(place, clip.codes) for place, clip in enumerate(clips)
                     if len(clip.codes) == depth]  # fmt: skip
            segments = coded_segments(codes, self.geometry.pack_steps)
            for pack in fill_packs(segments, self.geometry):
                samples, start = self._pack_samples(pack), 0
                for part in pack:
                    stop = start + part.segment.frames * hop
                    first = part.segment.first * hop
                    waves[part.position][first:][: stop - start] = samples[start:stop]
                    start = stop
        return waves

    @torch.inference_mode()
    def _embed(self, codes: Sequence[Codes]) -> list[Embeddings]:
        on_device = (torch.from_numpy(each.T).long().to(self.device) for each in codes)
        return [self.model.quantizer.decode(each).cpu().numpy() for each in on_device]

    @torch.inference_mode()
    def _pack_samples(self, pack: Sequence[CodedSegment]) -> Waveform:
        """Samples of segments that lie end to end."""
        layout = self._lay_out([part.segment for part in pack])
        codes = torch.from_numpy(np.concatenate([part.codes for part in pack], axis=1).T).long()
        samples = decode_pack(self.model, codes.to(self.device), layout)
        layout.remember()
        return samples.cpu().numpy()
