"""The codec over packs of clips; implements the contract.

Clips are cut into segments; `engine/pack_stream.py` fills packs with them and collects the codes.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.contract import CodecIdentity, CodedClip, Codes, Embeddings, Side, Waveform
from xy_codec.engine.causal import CodedJob, CodedSegment, Segment, SegmentJob, coded_segments
from xy_codec.engine.causal_program import CausalRunner
from xy_codec.engine.causal_stream import CausalStream
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.packing import Job, Pack, fill_packs
from xy_codec.secousti.config import HOP_SAMPLES, MARGIN_SAMPLES
from xy_codec.secousti.decode_program import SoundInputs, carried_by, decode
from xy_codec.secousti.mel import windows_of
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.pack_program import PackInputs, encode
from xy_codec.secousti.packed import decode_pack, encode_pack
from xy_codec.secousti.paralinguistic import SLICE_FRAMES, middle
from xy_codec.secousti.vocoder_pieces import pitch_of, vocode

# Tiles in steps of any rate, packs in tokens. On a CPU, tiles half as large take 6 % longer and
# larger ones little less, but a clip alone runs at least one.
CPU = Geometry(tile_steps=512, pack_steps=4096, clip_steps=1)
CUDA = Geometry(tile_steps=4096, pack_steps=4096, clip_steps=1)
# Frames of log-mel in a tile of the vocoder, about, where packs have one shape. On a CPU 1,024 take
# a third longer: what a layer makes of them no longer fits into caches. On a GPU nothing was
# measured: the largest tensor of a tile of 4,096 has 134 MB.
CPU_VOCODER_FRAMES, CUDA_VOCODER_FRAMES = 512, 4096
# A recurrent layer takes as long for eight clips as for one.
_SIDES_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a pack takes of a clip: a segment and the windows `[frames, 1024]` of its log-mel."""

    segment: Segment
    windows: Tensor


class SecoustiCodec(CausalStream):
    """A SecoustiCodec; a clip's codes and side values do not depend on what is encoded beside it.

    Its side values are the state of the paralinguistic branch; `decode` takes as well the vector
    that the reference makes of them.
    """

    def __init__(
        self,
        model: SecoustiModel,
        identity: CodecIdentity,
        device: torch.device,
        geometry: Geometry,
        *,
        as_graph: bool = False,
    ) -> None:
        super().__init__(identity, device, geometry, as_graph=as_graph)
        # A fifth of the weights; the acoustic embedding is no code.
        del model.acoustic_transformer
        self.model = model

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """How many side values `decode` takes."""
        return (self.model.config.state_width, self.model.config.width)

    def _jobs(self, tag: Any, waveform: Waveform) -> list[SegmentJob]:
        jobs = super()._jobs(tag, waveform)
        if not jobs:
            return []
        mirrored = np.pad(waveform, MARGIN_SAMPLES, mode="reflect")
        return [replace(job, samples=mirrored) for job in jobs]

    def _pack_codes(self, jobs: Sequence[SegmentJob]) -> Tensor:
        if self.geometry.has_one_shape:
            return self._encoding(jobs)[:, None]
        starting = _starting(jobs)
        sides = self.sides_of([middle_of(job) for job in starting])
        for job, side in zip(starting, sides, strict=True):
            job.clip.side = side
        return self.tokens_of([self._stretch(job) for job in jobs])[:, None]

    @cached_property
    def _encoding(self) -> CausalRunner[SegmentJob]:
        model = self.model
        stages = (model.encoder, model.semantic_transformer)
        inputs = PackInputs(self.geometry, model.config.token_frames)
        return CausalRunner(
            "encoding", partial(encode, model), stages, inputs, self.device, as_graph=self._as_graph
        )

    @torch.inference_mode()
    def _launch(self, jobs: list[SegmentJob]) -> Pack[SegmentJob]:
        pack = super()._launch(jobs)
        if self.geometry.has_one_shape:
            # They came behind the tokens, and may still be on their way.
            states = pack.codes[self.geometry.pack_steps :].flatten().view(torch.float32)
            sides = states.view(-1, self.model.config.state_width).numpy()
            for job, side in zip(_starting(jobs), sides, strict=False):
                job.clip.side = side
        return pack

    def _stretch(self, job: SegmentJob) -> Stretch:
        token_frames = self.model.config.token_frames
        first = job.segment.first * token_frames
        windows = windows_of(torch.from_numpy(job.samples))
        return Stretch(job.segment, windows[first:][: job.segment.frames * token_frames])

    @torch.inference_mode()
    def tokens_of(self, stretches: Sequence[Stretch]) -> Tensor:
        """Run a pack: its tokens, end to end, as int16 on the device."""
        layout = self._lay_out([stretch.segment for stretch in stretches])
        num_frames = [len(stretch.windows) for stretch in stretches]
        owned = [stretch.segment.frames * self.model.config.token_frames for stretch in stretches]
        windows = torch.cat([
            F.pad(stretch.windows, (0, 0, 0, steps - frames))
            for stretch, steps, frames in zip(stretches, owned, num_frames, strict=True)
        ]).to(self.device, non_blocking=True)  # fmt: skip
        mel = layout.faster(self.model.config.token_frames).stepwise(
            self.model.mel.of_windows, windows
        )
        tokens = encode_pack(self.model, mel, layout, num_frames)
        layout.remember()
        return tokens.short()

    def sides_of(self, middles: Sequence[Tensor]) -> list[Side]:
        """The side values of clips, from the windows `[frames, 1024]` in the middle of each.

        On an accelerator they may still be on their way when this returns.
        """
        return [
            side
            for first in range(0, len(middles), _SIDES_TOGETHER)
            for side in self.states_of(middles[first : first + _SIDES_TOGETHER])
            .to("cpu", non_blocking=True)
            .numpy()
        ]

    @torch.inference_mode()
    def states_of(self, middles: Sequence[Tensor]) -> Tensor:
        """States `[N, H]` of at most eight clips, on the device."""
        mels = torch.zeros(_SIDES_TOGETHER, SLICE_FRAMES, self.model.config.num_mels)
        mels = mels.to(self.device)
        lengths = torch.ones(_SIDES_TOGETHER, dtype=torch.long)
        for place, windows in enumerate(middles):
            padded = F.pad(windows, (0, 0, 0, SLICE_FRAMES - len(windows)))
            mels[place] = self.model.mel.of_windows(padded.to(self.device))
            lengths[place] = len(windows)
        states = self.model.paralinguistic_encoder.of_padded(mels, lengths.to(self.device))
        return states[: len(middles)]

    @cached_property
    def _decoding(self) -> CausalRunner[CodedJob]:
        model, inputs = self.model, self._sound_inputs
        return CausalRunner(
            "decoding", partial(decode, model, inputs.tile_frames),
            (model.connector, model.decoder_transformer, model.decoder),
            inputs, self.device, as_graph=self._as_graph,
            more=carried_by(model.vocoder, model.config.num_mels),
        )  # fmt: skip

    @cached_property
    def _sound_inputs(self) -> SoundInputs:
        frames = CPU_VOCODER_FRAMES if self.device.type == "cpu" else CUDA_VOCODER_FRAMES
        return SoundInputs(self.geometry, self.model.config, self._vector, frames)

    def _heard(self, job: CodedJob) -> Job:
        start, stop, _ = self._sound_inputs.heard(job)
        return Job(job.clip, job.samples, start, stop - start, stop - start, stop - start)

    @torch.inference_mode()
    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        if self.geometry.has_one_shape:
            return self._decode_in_one_shape(clips, HOP_SAMPLES, self._decoding)
        vectors = [torch.from_numpy(self._vector(clip.side)).to(self.device) for clip in clips]
        codes = ((position, clip.codes) for position, clip in enumerate(clips))
        segments = coded_segments(codes, self.geometry.pack_steps)
        waves: list[Waveform] = [np.empty(0, np.float32)] * len(clips)
        mels: dict[int, list[Tensor]] = defaultdict(list)
        for pack in fill_packs(segments, self.geometry):
            done: dict[int, Tensor] = {}
            for part, mel in zip(pack, self._decode_pack(pack, vectors), strict=True):
                mels[part.position].append(mel)
                if part.segment.is_last:
                    whole = torch.cat(mels.pop(part.position))
                    done[part.position] = self._vocode(whole, clips[part.position].key)
            for position, wave in zip(done, _to_host(list(done.values())), strict=True):
                waves[position] = wave
        return waves

    @torch.inference_mode()
    def _embed(self, codes: Sequence[Codes]) -> list[Embeddings]:
        on_device = (torch.from_numpy(each[0]).long().to(self.device) for each in codes)
        return [self.model.quantizer.decode(each).cpu().numpy() for each in on_device]

    def _vector(self, side: Side | None) -> Side:
        """The vector `[D]` that the decoder adds to each token of a clip."""
        values = np.asarray(side, np.float32)
        if len(values) == self.model.config.state_width:
            values = self._to_vector(torch.from_numpy(values)).numpy()
        return values

    @cached_property
    def _to_vector(self) -> nn.Module:
        """On the host, so that it is no operation of the device for each clip."""
        return copy.deepcopy(self.model.paralinguistic_encoder.to_vector).cpu()

    def _vocode(self, mel: Tensor, key: str | None) -> Tensor:
        return vocode(self.model.vocoder, mel, pitch_of(self.model.vocoder, mel), key)

    def _decode_pack(
        self, pack: Sequence[CodedSegment], vectors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """The log-mel `[frames, M]` of each segment of a pack."""
        layout = self._lay_out([part.segment for part in pack])
        tokens = np.concatenate([part.codes[0] for part in pack])
        added = [vectors[part.position].expand(part.segment.frames, -1) for part in pack]
        on_device = torch.from_numpy(tokens).long().to(self.device)
        mel = decode_pack(self.model, on_device, torch.cat(added), layout)
        layout.remember()
        token_frames = self.model.config.token_frames
        return torch.split(mel, [part.segment.frames * token_frames for part in pack])


def _to_host(waves: list[Tensor]) -> list[Waveform]:
    """Waveforms by one copy for all: each would wait for the device."""
    if not waves:
        return []
    ends = np.cumsum([len(wave) for wave in waves])[:-1]
    return np.split(torch.cat(waves).cpu().numpy(), ends)


def middle_of(job: SegmentJob) -> Tensor:
    """The windows that the side values of a clip are made from."""
    windows = windows_of(torch.from_numpy(job.samples))
    return windows[middle(len(windows))]


def _starting(jobs: Iterable[SegmentJob]) -> list[SegmentJob]:
    """Those with which a clip begins: its side values are made in their pack."""
    return [job for job in jobs if job.segment.first == 0]
