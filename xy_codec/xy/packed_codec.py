"""The codec over packs: cuts clips into windows, runs packs of them, and collects results.

Implements the `Codec` contract. `packing.py` fills the packs, `packed_model.py` is what runs.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.contract import Codec, CodecIdentity, CodedClip, Codes, Encoded, Tag, Waveform
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.layout import lay_out_in_tiles
from xy_codec.engine.packing import Job, OpenClip, Pack, fill_packs
from xy_codec.engine.windows import DecodeWindow, WindowPlan
from xy_codec.inputs import check_waveform
from xy_codec.xy.config import FRAME_TOKENS
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_model import PackedDecoder, PackedEncoder

if TYPE_CHECKING:
    from xy_codec.xy.compiled import CompiledEncoder


class PackedCodec(Codec):
    """An XY-Tokenizer; a clip's codes do not depend on what is encoded beside it."""

    def __init__(
        self,
        model: XYTokenizer,
        dtype: torch.dtype,
        identity: CodecIdentity,
        plan: WindowPlan,
        device: torch.device,
        geometry: Geometry,
    ) -> None:
        """Take the weights of `model`, which is of no use afterwards; encode in `dtype`."""
        super().__init__()
        self.config = model.config
        self.encoder = PackedEncoder(model, dtype)
        self.decoder = PackedDecoder(model)
        self.plan = plan
        self.device = device
        self.geometry = geometry
        self._run_pack = self._compiled() if geometry.is_compiled else self._run_tiles
        self._identity = identity
        # The host prepares one pack while the accelerator runs the one before it.
        self.counters.packs_in_flight = 0 if device.type == "cpu" else 1

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        """Encode tagged clips as they come; a clip is yielded when its last pack has run."""
        running: deque[Pack[Tag]] = deque()
        without_frames: deque[Tag] = deque()
        for jobs in fill_packs(self._jobs_of(clips, without_frames), self.geometry):
            yield from self._add_running(running, Pack(jobs))
            while len(running) > self.counters.packs_in_flight:
                yield from running.popleft().collect()
            yield from self._empty(without_frames)
        while running:
            yield from running.popleft().collect()
        yield from self._empty(without_frames)

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        codes = [clip.codes for clip in clips]
        samples = self.shape.output_samples_per_frame
        out = [np.zeros(matrix.shape[1] * samples, np.float32) for matrix in codes]
        for depth in sorted({matrix.shape[0] for matrix in codes}):
            for pack in self._decode_packs(codes, depth):
                self._decode_pack(pack, codes, out)
        return out

    def _empty(self, tags: deque[Tag]) -> Iterator[tuple[Tag, Encoded]]:
        while tags:
            yield tags.popleft(), Encoded.without_frames(self.shape)

    def _jobs_of(
        self, clips: Iterable[tuple[Tag, Waveform]], without_frames: deque[Tag]
    ) -> Iterator[tuple[Job[Tag], int]]:
        """The windows of all clips with their steps; clips too short for a frame are noted."""
        for tag, waveform in clips:
            check_waveform(waveform, self.shape, None, f"Waveform `{tag}`")
            jobs = self._jobs(tag, waveform)
            if not jobs:
                without_frames.append(tag)
            yield from ((job, job.steps) for job in jobs)

    def _add_running(
        self, running: deque[Pack[Tag]], pack: Pack[Tag]
    ) -> Iterator[tuple[Tag, Encoded]]:
        """Launch a pack; when memory runs out, end those before it and launch the same one again.

        Never in another shape: codes depend on the number of steps in a buffer.
        """
        try:
            running.append(self._launch(pack))
            return
        except torch.cuda.OutOfMemoryError:
            self.counters.times_out_of_memory += 1
        # Outside of `except`, whose traceback would keep the failed attempt's memory.
        while running:
            yield from running.popleft().collect()
        torch.cuda.empty_cache()
        self.counters.packs_in_flight = max(0, self.counters.packs_in_flight - 1)
        running.append(self._launch(pack))

    def _jobs(self, tag: Tag, waveform: Waveform) -> list[Job[Tag]]:
        windows = list(self.plan.encode_windows(len(waveform)))
        frames = self.shape.num_frames(len(waveform))
        codes = np.empty((self.shape.num_codebooks, frames), self.shape.dtype)
        clip = OpenClip(tag, codes, len(windows))
        jobs = []
        for window in windows:
            mel_frames = self.encoder.mel.num_frames(window.stop - window.start)
            steps = self.geometry.steps_of(mel_frames // 2)
            jobs.append(Job(clip, window, waveform, mel_frames, steps, steps // FRAME_TOKENS))
        return jobs

    @torch.inference_mode()
    def _launch(self, pack: Pack[Tag]) -> Pack[Tag]:
        """Run a pack; on an accelerator its codes may still be on their way when this returns."""
        pack.codes = self._pack_codes(pack).to("cpu", non_blocking=True)
        self.counters.packs_run += 1
        if self.device.type == "cuda":
            pack.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            pack.done.record()
        return pack

    def _pack_codes(self, pack: Pack[Tag]) -> Tensor:
        """Codes `[frames of the buffer, K]` on the device."""
        hop = self.encoder.mel.hop_length
        sizes = [
            (job.steps, -(-(job.window.stop - job.window.start) // hop) // 2) for job in pack.jobs
        ]
        num_steps = self.geometry.whole_tiles(pack.steps)
        mels = [self._mel(job) for job in pack.jobs]
        padding = mels[0].new_zeros(2 * (num_steps - pack.steps), mels[0].shape[1])
        return self._run_pack(torch.cat([*mels, padding]), sizes, self.shape.num_codebooks)

    def _run_tiles(self, mel: Tensor, sizes: Sequence[tuple[int, int]], depth: int) -> Tensor:
        layout = lay_out_in_tiles(sizes, len(mel) // 2, self.geometry.tile_steps, self.device)
        codes: Tensor = self.encoder(mel, layout, depth)
        return codes

    def _compiled(self) -> "CompiledEncoder":
        # Imported here: the compiler takes seconds that others need not wait for.
        from xy_codec.xy.compiled import CompiledEncoder

        return CompiledEncoder(self.encoder, self.geometry.tile_steps)

    def _mel(self, job: Job[Tag]) -> Tensor:
        samples = job.samples[job.window.start : job.window.stop]
        padded = torch.zeros(1, job.mel_frames * self.encoder.mel.hop_length)
        padded[0, : len(samples)] = torch.from_numpy(samples)
        mel: Tensor = self.encoder.mel(padded.to(self.device, non_blocking=True))[0]
        return F.pad(mel, (0, 0, 0, 2 * job.steps - job.mel_frames))

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
        samples, start = self.config.decoder_upsample_rate, 0
        for (position, window), part in zip(pack, parts, strict=True):
            stop = start + 2 * FRAME_TOKENS * len(part)
            wave = self.decoder.head.to_samples(spectra[start:stop].unsqueeze(0))[0]
            first, count = window.start * samples, window.num_kept * samples
            out[position][first : first + count] = wave[:count].cpu().numpy()
            start = stop

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
