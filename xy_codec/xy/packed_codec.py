"""XY-Tokenizer over packs: cuts clips into windows, which `engine/pack_stream.py` encodes.

Implements the `Codec` contract. `packed_model.py` is what a pack runs.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.contract import CodecIdentity, CodedClip, Codes, Embeddings, Waveform
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.layout import lay_out_in_tiles
from xy_codec.engine.pack_runner import PackRunner
from xy_codec.engine.pack_stream import PackStream
from xy_codec.engine.packing import Job, OpenClip, Pack, fill_packs
from xy_codec.engine.windows import DecodeWindow, EncodeWindow, WindowPlan
from xy_codec.errors import CodesError
from xy_codec.xy.compiled import compile_encoding
from xy_codec.xy.config import FRAME_TOKENS
from xy_codec.xy.decode_program import CodedInputs, DecodeProgram
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.pack_inputs import PackInputs, Stretch
from xy_codec.xy.pack_program import PackProgram
from xy_codec.xy.packed_model import PackedDecoder, PackedEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WindowJob(Job):
    """A window of a clip, and the mel frames that it takes."""

    window: EncodeWindow
    mel_frames: int

    @property
    def own_samples(self) -> Waveform:
        """Those of the window."""
        return self.samples[self.window.start : self.window.stop]


@dataclass(frozen=True, slots=True)
class CodedJob(Job):
    """A window of codes `[K', T]` that becomes sound."""

    codes: Codes


class PackedCodec(PackStream[WindowJob]):
    """An XY-Tokenizer; a clip's codes do not depend on what is encoded beside it."""

    def __init__(
        self,
        model: XYTokenizer,
        dtype: torch.dtype,
        identity: CodecIdentity,
        plan: WindowPlan,
        device: torch.device,
        geometry: Geometry,
        *,
        as_graph: bool = False,
        exact: Callable[[], "PackedCodec"] | None = None,
    ) -> None:
        """Take the weights of `model`, which is of no use afterwards; encode in `dtype`.

        Args:
            as_graph: On CUDA, replay packs of one shape as a graph.
            exact: Opens the same codec in float32, which encodes what half precision cannot hold.
        """
        super().__init__(identity, device, geometry)
        self.config = model.config
        self.encoder = PackedEncoder(model, dtype)
        self.decoder = PackedDecoder(model)
        self.plan = plan
        self._as_graph = as_graph
        self._open_exact = exact

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        codes = [clip.codes for clip in clips]
        samples = self.shape.output_samples_per_frame
        out = [np.zeros(matrix.shape[1] * samples, np.float32) for matrix in codes]
        # Ablations' vocoders have no program: they take clip by clip.
        if self.geometry.has_one_shape and self.decoder.vocoder is not None:
            jobs = (job for each in zip(codes, out, strict=True) for job in self._coded_jobs(*each))
            for _ in self._run(
                self._packs((job, job.steps) for job in jobs), self._launch_decoding
            ):
                pass
            return out
        for depth in sorted({matrix.shape[0] for matrix in codes}):
            for pack in self._decode_packs(codes, depth):
                self._decode_pack(pack, codes, out)
        return out

    @torch.inference_mode()
    def _embed(self, codes: Sequence[Codes]) -> list[Embeddings]:
        on_device = (torch.from_numpy(each).long().to(self.device) for each in codes)
        lookup = self.decoder.quantizer.decode
        return [lookup(each[None])[0].cpu().numpy() for each in on_device]

    def _jobs(self, tag: Any, waveform: Waveform) -> list[WindowJob]:
        windows = list(self.plan.encode_windows(len(waveform)))
        clip = OpenClip.of(tag, self.shape, len(waveform), len(windows))
        return [self._job(clip, waveform, window) for window in windows]

    def _job(self, clip: OpenClip, samples: Waveform, window: EncodeWindow) -> WindowJob:
        mel_frames = self.encoder.mel.num_frames(window.stop - window.start)
        steps = self.geometry.steps_of(mel_frames // 2)
        frames = steps // FRAME_TOKENS
        first, kept = window.first_frame, window.num_kept
        return WindowJob(clip, samples, first, kept, frames, steps, window, mel_frames)

    def _pack_codes(self, jobs: Sequence[WindowJob]) -> Tensor:
        if self.geometry.has_one_shape:
            stretches = [Stretch(job.own_samples, job.mel_frames, job.steps) for job in jobs]
            return self._runner(partial(self._inputs.fill, stretches=stretches))
        hop = self.encoder.mel.hop_length
        sizes = [(job.steps, -(-(job.window.stop - job.window.start) // hop) // 2) for job in jobs]
        used = sum(job.steps for job in jobs)
        unused = self.geometry.whole_tiles(used) - used
        mels = [self._mel(job) for job in jobs]
        mel = torch.cat([*mels, mels[0].new_zeros(2 * unused, mels[0].shape[1])])
        layout = lay_out_in_tiles(sizes, len(mel) // 2, self.geometry.tile_steps, self.device)
        codes: Tensor = self.encoder(mel, layout, self.shape.num_codebooks)
        return codes

    @cached_property
    def _inputs(self) -> PackInputs:
        return PackInputs(self.geometry, self.encoder.mel, self.encoder.dtype)

    @cached_property
    def _runner(self) -> PackRunner:
        steps, clips = self.geometry.pack_steps, self.geometry.most_clips
        program = PackProgram(self.encoder, self.shape.num_codebooks, steps, clips)
        if self.geometry.program == "compiled":
            compile_encoding(program)
        return PackRunner("encoding", program, self._inputs, self.device, as_graph=self._as_graph)

    @cached_property
    def _coded_inputs(self) -> CodedInputs:
        quantizer = self.config.quantizer_kwargs
        return CodedInputs(self.geometry, quantizer.num_quantizers, quantizer.codebook_size)

    @cached_property
    def _decoding(self) -> PackRunner:
        program = DecodeProgram(self.decoder)
        return PackRunner(
            "decoding", program, self._coded_inputs, self.device, as_graph=self._as_graph
        )

    @property
    def _may_overflow(self) -> bool:
        return self.encoder.is_half

    @cached_property
    def _exact(self) -> "PackedCodec":
        if self._open_exact is None:
            raise CodesError(
                "A clip has values that half precision cannot hold, and this codec was opened "
                "without its weights in float32; expected both. Use precision `exact`."
            )
        return self._open_exact()

    @torch.inference_mode()
    def _in_exact(self, job: WindowJob) -> Codes:
        if not self.counters.reruns_in_exact:
            logger.warning(
                "Values of a clip are too large for half precision; its window is encoded in "
                "float32, as all such ones will be"
            )
        self.counters.reruns_in_exact += 1
        return self._exact._pack_codes([job])[: job.num_kept].cpu().numpy()

    def _mel(self, job: WindowJob) -> Tensor:
        samples = job.own_samples
        padded = torch.zeros(1, job.mel_frames * self.encoder.mel.hop_length)
        padded[0, : len(samples)] = torch.from_numpy(samples)
        mel: Tensor = self.encoder.mel(padded.to(self.device, non_blocking=True))[0]
        return F.pad(mel, (0, 0, 0, 2 * job.steps - job.mel_frames))

    def _coded_jobs(self, codes: Codes, wave: Waveform) -> Iterator[CodedJob]:
        """The jobs of decoding a clip, whose samples go into `wave`."""
        windows = list(self.plan.decode_windows(codes.shape[1]))
        # A frame's samples in the place of its codes.
        samples = wave.reshape(-1, self.shape.output_samples_per_frame).T
        clip = OpenClip(None, samples, len(windows))
        for window in windows:
            own = codes[:, window.start : window.stop]
            frames, steps = own.shape[1], own.shape[1] * FRAME_TOKENS
            yield CodedJob(clip, wave, window.start, window.num_kept, frames, steps, own)

    @torch.inference_mode()
    def _launch_decoding(self, jobs: list[CodedJob]) -> Pack[CodedJob]:
        return self._bring(jobs, self._pack_samples(jobs))

    def _pack_samples(self, jobs: Sequence[CodedJob]) -> Tensor:
        """Samples `[frames of the buffer, samples a frame]` of jobs that lie end to end."""
        matrices = [job.codes for job in jobs]
        return self._decoding(partial(self._coded_inputs.fill, matrices=matrices))

    def _decode_packs(
        self, codes: Sequence[Codes], depth: int
    ) -> Iterator[list[tuple[int, DecodeWindow]]]:
        windows = (
            ((position, window), (window.stop - window.start) * FRAME_TOKENS)
            for position, matrix in enumerate(codes)
            if matrix.shape[0] == depth
            for window in self.plan.decode_windows(matrix.shape[1])
        )
        return fill_packs(windows, self.geometry)

    @torch.inference_mode()
    def _decode_pack(
        self, pack: list[tuple[int, DecodeWindow]], codes: Sequence[Codes], out: list[Waveform]
    ) -> None:
        parts = [codes[position][:, window.start : window.stop].T for position, window in pack]
        spectra = self._spectra(parts)
        sizes = [2 * FRAME_TOKENS * len(part) for part in parts]
        waves = [
            self.decoder.head.to_samples(own.unsqueeze(0))[0]
            for own in torch.split(spectra[: sum(sizes)], sizes)
        ]
        # One copy for all clips: each would wait for the device.
        whole = torch.cat(waves).cpu().numpy()
        samples, start = self.config.decoder_upsample_rate, 0
        for (position, window), wave in zip(pack, waves, strict=True):
            first, count = window.start * samples, window.num_kept * samples
            out[position][first : first + count] = whole[start : start + count]
            start += len(wave)

    def _spectra(self, parts: Sequence[Codes]) -> Tensor:
        """Spectra at 100 Hz of codes `[T, K]`, clip after clip."""
        sizes = [(FRAME_TOKENS * len(part),) * 2 for part in parts]
        num_steps = self.geometry.whole_tiles(sum(steps for steps, _ in sizes))
        layout = lay_out_in_tiles(sizes, num_steps, self.geometry.tile_steps, self.device)
        frames = np.concatenate(parts)
        indices = torch.zeros(num_steps // FRAME_TOKENS, frames.shape[1], dtype=torch.long)
        indices[: len(frames)] = torch.from_numpy(frames)
        spectra: Tensor = self.decoder(indices.to(self.device), layout)
        return spectra
