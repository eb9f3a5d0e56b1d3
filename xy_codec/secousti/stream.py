"""Encoding a clip while it is still coming; the result is that of the whole clip, bit for bit."""

import numpy as np
import torch
from torch import Tensor

from xy_codec.contract import Codes, Encoded, Waveform
from xy_codec.engine.causal import BLOCK_FRAMES, Memory, Segment
from xy_codec.errors import AudioError, ConfigError
from xy_codec.inputs import check_waveform
from xy_codec.secousti.codec import SecoustiCodec, Stretch
from xy_codec.secousti.config import HOP_SAMPLES, MARGIN_SAMPLES, MIN_SAMPLES, WINDOW_SAMPLES
from xy_codec.secousti.mel import windows_of
from xy_codec.secousti.paralinguistic import SLICE_FRAMES, middle

_SAMPLE_BYTES = 4


class EncodeStream:
    """Takes samples as they come, and gives codes 32 at a time: 1.5 s at 21.53 Hz, 0.4 s at 86.13.

    The side values read the middle of the clip, so that half of its samples are kept, and they are
    known at the end.
    """

    def __init__(self, codec: SecoustiCodec) -> None:
        if codec.geometry.has_one_shape:
            raise ConfigError(
                f"A clip is to be encoded while it comes, by a codec whose packs are "
                f"`{codec.geometry.name}`; expected one whose packs are tiles, because a pack of "
                "one shape is run whole. Load the codec without the option `program`."
            )
        self._codec = codec
        self._token_frames = codec.model.config.token_frames
        self._memory = Memory()
        self._num_samples = 0
        self._next_token = 0
        # Samples with those mirrored before the first, from the windows of `_first_frame` on.
        self._held = bytearray()
        self._first_frame = 0
        self._is_finished = False

    def push(self, samples: Waveform) -> Codes:
        """Take more samples, any number, and give the codes `[1, T]` that became certain."""
        self._take(samples)
        # Frames whose windows end before what is still to come.
        frames = (self._num_samples - MARGIN_SAMPLES) // HOP_SAMPLES
        tokens = max(0, frames // self._token_frames) // BLOCK_FRAMES * BLOCK_FRAMES
        codes = self._encode(tokens, frames, is_end=False)
        self._forget()
        return codes

    def finish(self) -> Encoded:
        """End the clip: the codes that are still missing, and the side values of the whole."""
        self._take(np.empty(0, np.float32))
        self._is_finished = True
        num_tokens = self._codec.shape.num_frames(self._num_samples)
        if not num_tokens:
            return Encoded.without_frames(self._codec.shape)
        end = np.frombuffer(self._held[-MIN_SAMPLES * _SAMPLE_BYTES :], np.float32)
        self._held += end[-2::-1].tobytes()
        num_frames = self._num_samples // HOP_SAMPLES
        codes = self._encode(num_tokens, num_frames, is_end=True)
        start, stop, _ = middle(num_frames).indices(num_frames)
        (side,) = self._codec.sides_of([self._windows(start, stop)])
        return Encoded(codes, side)

    def _take(self, samples: Waveform) -> None:
        check_waveform(samples, self._codec.shape, None, "Samples")
        if self._is_finished:
            raise AudioError(
                "Samples came after `finish`; expected none, because the clip has ended. Start "
                "another `EncodeStream` for another clip."
            )
        was_short = self._num_samples < MIN_SAMPLES
        self._num_samples += len(samples)
        self._held += samples.tobytes()
        if was_short and self._num_samples >= MIN_SAMPLES:
            start = np.frombuffer(self._held[: MIN_SAMPLES * _SAMPLE_BYTES], np.float32)
            self._held[:0] = start[:0:-1].tobytes()

    def _encode(self, num_tokens: int, num_frames: int, is_end: bool) -> Codes:
        """The codes from the next token to `num_tokens`, of a clip with so many frames so far."""
        parts = [np.empty((1, 0), np.int16)]
        while self._next_token < num_tokens:
            first = self._next_token
            stop = min(first + self._codec.geometry.pack_steps, num_tokens)
            is_last = is_end and stop == num_tokens
            windows = self._windows(
                first * self._token_frames, min(stop * self._token_frames, num_frames)
            )
            segment = Segment(first, stop - first, is_last, self._memory)
            tokens = self._codec.tokens_of([Stretch(segment, windows)])
            parts.append(tokens[None].cpu().numpy())
            self._next_token = stop
        return np.concatenate(parts, axis=1)

    def _windows(self, first_frame: int, stop_frame: int) -> Tensor:
        start = (first_frame - self._first_frame) * HOP_SAMPLES
        count = (stop_frame - first_frame - 1) * HOP_SAMPLES + WINDOW_SAMPLES
        held = self._held[start * _SAMPLE_BYTES : (start + count) * _SAMPLE_BYTES]
        return windows_of(torch.frombuffer(held, dtype=torch.float32))

    def _forget(self) -> None:
        """Drop the samples that neither the next tokens nor the side values can read."""
        earliest = self._num_samples // HOP_SAMPLES // 2 - SLICE_FRAMES // 2
        first = max(self._first_frame, min(self._next_token * self._token_frames, earliest))
        del self._held[: (first - self._first_frame) * HOP_SAMPLES * _SAMPLE_BYTES]
        self._first_frame = first
