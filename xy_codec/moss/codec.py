"""MOSS-Audio-Tokenizer over packs: cuts clips into segments, which `pack_stream.py` packs.

Implements the `Codec` contract. `packed.py` is what a pack runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xy_codec.contract import CodecIdentity, CodedClip, Codes, Waveform
from xy_codec.engine.causal import CausalLayout, Segment, cut_clip, lay_out_segments
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_stream import PackStream
from xy_codec.engine.packing import Job, OpenClip, fill_packs
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.packed import decode_pack, encode_pack

# Tiles in steps of any rate, packs in frames of 80 ms. On a CPU, tiles half as large take 5 %
# longer, and larger ones lose as much at the ends of packs. A long clip's segments fill packs. On
# a GPU nothing was measured.
CPU = Geometry(tile_steps=512, pack_steps=2048, clip_steps=1)
CUDA = Geometry(tile_steps=2048, pack_steps=2048, clip_steps=1)


@dataclass(frozen=True, slots=True)
class SegmentJob(Job):
    """A segment of a clip that is being encoded."""

    segment: Segment


class MossCodec(PackStream[SegmentJob]):
    """A MOSS-Audio-Tokenizer; a clip's codes depend neither on its company nor on its cuts."""

    def __init__(
        self,
        model: MossAudioTokenizer,
        identity: CodecIdentity,
        device: torch.device,
        geometry: Geometry,
    ) -> None:
        super().__init__(identity, device, geometry)
        self.model = model

    def _jobs(self, tag: Any, waveform: Waveform) -> list[SegmentJob]:
        segments = cut_clip(self.shape.num_frames(len(waveform)), self.geometry.pack_steps)
        clip = OpenClip.of(tag, self.shape, len(waveform), len(segments))
        return [
            SegmentJob(
                clip=clip,
                samples=waveform,
                first_frame=segment.first,
                num_kept=segment.frames,
                frames=segment.frames,
                steps=segment.frames,
                segment=segment,
            )
            for segment in segments
        ]

    def _pack_codes(self, jobs: Sequence[SegmentJob]) -> Tensor:
        hop = self.shape.samples_per_frame
        layout = self._lay_out([job.segment for job in jobs])
        own = [job.samples[job.first_frame * hop :][: job.frames * hop] for job in jobs]
        samples = torch.from_numpy(np.concatenate(own)).to(self.device, non_blocking=True)
        codes = encode_pack(self.model, samples, layout, self.shape.num_codebooks)
        layout.remember()
        return codes.short()

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        hop = self.shape.output_samples_per_frame
        waves = [np.empty(clip.codes.shape[1] * hop, np.float32) for clip in clips]
        for depth in sorted({len(clip.codes) for clip in clips}):
            for pack in fill_packs(self._segments_of(clips, depth), self.geometry):
                parts = [clips[position].codes[:, segment.first :][:, : segment.frames]
                         for position, segment in pack]  # fmt: skip
                samples = self._pack_samples([segment for _, segment in pack], parts)
                start = 0
                for position, segment in pack:
                    stop = start + segment.frames * hop
                    waves[position][segment.first * hop :][: stop - start] = samples[start:stop]
                    start = stop
        return waves

    def _segments_of(
        self, clips: Sequence[CodedClip], depth: int
    ) -> Iterator[tuple[tuple[int, Segment], int]]:
        """The segments of the clips that have so many codebooks, with the clips' positions."""
        for position, clip in enumerate(clips):
            if len(clip.codes) == depth:
                for segment in cut_clip(clip.codes.shape[1], self.geometry.pack_steps):
                    yield (position, segment), segment.frames

    @torch.inference_mode()
    def _pack_samples(self, segments: Sequence[Segment], parts: Sequence[Codes]) -> Waveform:
        """Samples of codes `[K', T]` that lie end to end."""
        layout = self._lay_out(segments)
        codes = torch.from_numpy(np.concatenate(parts, axis=1).T).long()
        samples = decode_pack(self.model, codes.to(self.device), layout)
        layout.remember()
        return samples.cpu().numpy()

    def _lay_out(self, segments: Sequence[Segment]) -> CausalLayout:
        return lay_out_segments(segments, self.geometry.tile_steps, self.device)
