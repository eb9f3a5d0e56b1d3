"""The frozen codec over packed buffers: implements the `Codec` contract."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.contract import Codec, CodecIdentity, Codes, Tag, Waveform
from xy_codec.engine.geometry import FRAME_ROWS, Geometry
from xy_codec.engine.packing import PackedLayout, lay_out
from xy_codec.engine.windows import DecodeWindow, EncodeWindow, WindowPlan
from xy_codec.inputs import check_codes, check_depth, check_waveform
from xy_codec.xy.model import XYTokenizer

if TYPE_CHECKING:
    from xy_codec.engine.compiled_encoder import CompiledEncoder

_MEL_PER_FRAME = 2 * FRAME_ROWS


@dataclass(slots=True)
class _OpenClip(Generic[Tag]):
    """A clip some of whose windows are still to come."""

    tag: Tag
    codes: Codes
    windows_left: int


@dataclass(frozen=True, slots=True)
class _Job(Generic[Tag]):
    """One window of a clip, the mel frames it takes, and the tokens it owns in a pack."""

    clip: _OpenClip[Tag]
    window: EncodeWindow
    samples: Waveform
    mel_frames: int
    rows: int


@dataclass(slots=True)
class _Pack(Generic[Tag]):
    """Windows that go through the model together, and their codes once launched."""

    jobs: list[_Job[Tag]] = field(default_factory=list)
    rows: int = 0
    codes: Tensor = field(default_factory=lambda: torch.empty(0))
    done: torch.cuda.Event | None = None

    def add(self, job: _Job[Tag]) -> None:
        """Append a window."""
        self.jobs.append(job)
        self.rows += job.rows

    def collect(self) -> Iterator[tuple[Tag, Codes]]:
        """Wait for the codes, hand them to their clips, and yield the clips that are complete."""
        if self.done is not None:
            self.done.synchronize()
        matrix, start = self.codes.numpy(), 0
        for job in self.jobs:
            kept = slice(job.window.first_frame, job.window.first_frame + job.window.num_kept)
            job.clip.codes[:, kept] = matrix[start : start + job.window.num_kept].T
            start += job.rows // FRAME_ROWS
            job.clip.windows_left -= 1
            if job.clip.windows_left == 0:
                yield job.clip.tag, job.clip.codes


class NeuralCodec(Codec):
    """An XY-Tokenizer; a clip's codes do not depend on what is encoded beside it."""

    def __init__(
        self,
        model: XYTokenizer,
        identity: CodecIdentity,
        plan: WindowPlan,
        device: torch.device,
        geometry: Geometry,
    ) -> None:
        self.model = model
        self.plan = plan
        self.device = device
        self.geometry = geometry
        self._run_pack = self._compiled() if geometry.is_compiled else self._run_tiles
        self._identity = identity
        # The host prepares one pack while the accelerator runs the one before it.
        self.packs_in_flight = 0 if device.type == "cpu" else 1
        self.packs_run = 0
        self.times_out_of_memory = 0

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode(
        self,
        waveforms: Sequence[Waveform],
        *,
        num_codebooks: int | None = None,
        rate_hz: int | None = None,
    ) -> list[Codes]:
        """Turn each waveform of L samples into codes `[K, L // samples_per_frame]`.

        Args:
            waveforms: Mono float32 at the codec's input rate.
            num_codebooks: Stop after the first so many codebooks.
            rate_hz: The waveforms' sample rate, if it should be checked.
        """
        for position, waveform in enumerate(waveforms):
            check_waveform(waveform, self._identity, rate_hz, f"Waveform {position}")
        check_depth(num_codebooks, self._identity)
        done = dict(self._encode_stream(enumerate(waveforms), num_codebooks))
        return [done[position] for position in range(len(waveforms))]

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Codes]]:
        """Encode tagged clips as they come; a clip is yielded when its last pack has run."""
        return self._encode_stream(clips, None)

    def decode(self, codes: Sequence[Codes]) -> list[Waveform]:
        """Turn each `[K', T]` (the first K' <= K codebooks) into a waveform at the output rate."""
        for position, matrix in enumerate(codes):
            check_codes(matrix, self._identity, f"Codes {position}")
        samples = self.model.config.decoder_upsample_rate
        out = [np.zeros(matrix.shape[1] * samples, np.float32) for matrix in codes]
        for depth in sorted({matrix.shape[0] for matrix in codes}):
            for pack in self._decode_packs(codes, depth):
                self._decode_pack(pack, codes, out)
        return out

    def _encode_stream(
        self, clips: Iterable[tuple[Tag, Waveform]], num_codebooks: int | None
    ) -> Iterator[tuple[Tag, Codes]]:
        depth = num_codebooks or self._identity.num_codebooks
        pack: _Pack[Tag] = _Pack()
        running: deque[_Pack[Tag]] = deque()
        for tag, waveform in clips:
            check_waveform(waveform, self._identity, None, f"Waveform `{tag}`")
            jobs = self._jobs(tag, waveform, depth)
            if not jobs:
                yield tag, np.empty((depth, 0), np.int16)
            for job in jobs:
                if self.geometry.is_full(pack.rows, job.rows):
                    yield from self._add_running(running, pack, depth)
                    pack = _Pack()
                    while len(running) > self.packs_in_flight:
                        yield from running.popleft().collect()
                pack.add(job)
        if pack.jobs:
            yield from self._add_running(running, pack, depth)
        while running:
            yield from running.popleft().collect()

    def _add_running(
        self, running: deque[_Pack[Tag]], pack: _Pack[Tag], depth: int
    ) -> Iterator[tuple[Tag, Codes]]:
        """Launch a pack; when memory runs out, end those before it and launch the same one again.

        Never in another shape: the rows of a buffer are part of what codes depend on.
        """
        try:
            running.append(self._launch(pack, depth))
            return
        except torch.cuda.OutOfMemoryError:
            self.times_out_of_memory += 1
        # Outside of `except`, whose traceback would keep the failed attempt's memory.
        while running:
            yield from running.popleft().collect()
        torch.cuda.empty_cache()
        self.packs_in_flight = max(0, self.packs_in_flight - 1)
        running.append(self._launch(pack, depth))

    def _jobs(self, tag: Tag, waveform: Waveform, depth: int) -> list[_Job[Tag]]:
        windows = list(self.plan.encode_windows(len(waveform)))
        frames = len(waveform) // self.plan.samples_per_frame
        clip = _OpenClip(tag, np.empty((depth, frames), np.int16), len(windows))
        jobs = []
        for window in windows:
            mel_frames = self._mel_frames(window.stop - window.start)
            rows = self.geometry.rows_of(mel_frames // 2)
            jobs.append(_Job(clip, window, waveform, mel_frames, rows))
        return jobs

    def _mel_frames(self, num_samples: int) -> int:
        """Frames to compute: two behind the last one of the clip, and whole 12.5 Hz frames.

        With two frames of silence behind it a clip's log-mel is that of padding it to 30 s.
        """
        hop = self.model.mel.hop_length
        frames = -(-num_samples // hop) + 2
        whole = -(-frames // _MEL_PER_FRAME) * _MEL_PER_FRAME
        return min(self.plan.window_samples // hop, whole)

    @torch.inference_mode()
    def _launch(self, pack: _Pack[Tag], num_codebooks: int) -> _Pack[Tag]:
        """Run a pack; on an accelerator its codes may still be on their way when this returns."""
        pack.codes = self._pack_codes(pack, num_codebooks).to("cpu", non_blocking=True)
        self.packs_run += 1
        if self.device.type == "cuda":
            pack.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            pack.done.record()
        return pack

    def _pack_codes(self, pack: _Pack[Tag], num_codebooks: int) -> Tensor:
        """Codes `[frames of the buffer, K]` on the device."""
        hop = self.model.mel.hop_length
        sizes = [
            (job.rows, -(-(job.window.stop - job.window.start) // hop) // 2) for job in pack.jobs
        ]
        num_rows = self.geometry.whole_tiles(pack.rows)
        mels = [self._mel(job) for job in pack.jobs]
        padding = mels[0].new_zeros(2 * (num_rows - pack.rows), mels[0].shape[1])
        return self._run_pack(torch.cat([*mels, padding]), sizes, num_codebooks)

    def _run_tiles(self, mel: Tensor, sizes: Sequence[tuple[int, int]], depth: int) -> Tensor:
        layout = lay_out(sizes, self.geometry.tile_rows, self.device)
        return self.model.quantize(self.model.embed(mel, layout), layout, depth).short()

    def _compiled(self) -> "CompiledEncoder":
        # Imported here: the compiler takes seconds that others need not wait for.
        from xy_codec.engine.compiled_encoder import CompiledEncoder

        return CompiledEncoder(self.model, self.geometry.tile_rows)

    def _mel(self, job: _Job[Tag]) -> Tensor:
        samples = job.samples[job.window.start : job.window.stop]
        padded = torch.zeros(1, job.mel_frames * self.model.mel.hop_length)
        padded[0, : len(samples)] = torch.from_numpy(samples)
        mel: Tensor = self.model.mel(padded.to(self.device, non_blocking=True))[0]
        return F.pad(mel, (0, 0, 0, 2 * job.rows - job.mel_frames))

    def _decode_packs(
        self, codes: Sequence[Codes], depth: int
    ) -> Iterator[list[tuple[int, DecodeWindow]]]:
        pack: list[tuple[int, DecodeWindow]] = []
        used = 0
        for position, matrix in enumerate(codes):
            if matrix.shape[0] != depth:
                continue
            for window in self.plan.decode_windows(matrix.shape[1]):
                rows = (window.stop - window.start) * FRAME_ROWS
                if self.geometry.is_full(used, rows):
                    yield pack
                    pack, used = [], 0
                pack.append((position, window))
                used += rows
        if pack:
            yield pack

    @torch.inference_mode()
    def _decode_pack(
        self, pack: list[tuple[int, DecodeWindow]], codes: Sequence[Codes], out: list[Waveform]
    ) -> None:
        parts = [codes[position][:, window.start : window.stop].T for position, window in pack]
        tokens = [len(part) * FRAME_ROWS for part in parts]
        layout = lay_out([(rows, rows) for rows in tokens], self.geometry.tile_rows, self.device)
        spectrum = self._spectrum(np.concatenate(parts), layout)
        samples = self.model.config.decoder_upsample_rate
        for (position, window), span in zip(pack, layout.faster(2).spans, strict=True):
            rows = spectrum[span.start : span.start + span.rows]
            wave = self.model.vocos.head.to_samples(rows.unsqueeze(0))[0]
            start, count = window.start * samples, window.num_kept * samples
            out[position][start : start + count] = wave[:count].cpu().numpy()

    def _spectrum(self, frames: Codes, layout: PackedLayout) -> Tensor:
        rows = layout.num_rows // FRAME_ROWS
        indices = torch.zeros(rows, frames.shape[1], dtype=torch.long)
        indices[: len(frames)] = torch.from_numpy(np.ascontiguousarray(frames))
        embedded = self.model.dequantize(indices.to(self.device), layout)
        return self.model.reconstruct(embedded, layout)
