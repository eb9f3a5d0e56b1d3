"""A codec without a model, to measure everything around one: equal audio has equal codes."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from xy_codec.contract import Codec, CodecIdentity, Codes, Tag, Waveform

NO_CHECKPOINT = "0" * 64
_SAMPLES_PER_FRAME = 1280
_NUM_CODEBOOKS = 8
_CODEBOOK_SIZE = 1024
_STRIDE = _SAMPLES_PER_FRAME // _NUM_CODEBOOKS


class FakeCodec(Codec):
    """Codes are the ten high bits of every 160th sample, so damage to the audio shows in them."""

    def __init__(self, overlap_seconds: float = 10.0, precision: str = "exact") -> None:
        self._identity = CodecIdentity(
            name="fake",
            checkpoint_sha256=NO_CHECKPOINT,
            input_rate_hz=16000,
            output_rate_hz=16000,
            samples_per_frame=_SAMPLES_PER_FRAME,
            num_codebooks=_NUM_CODEBOOKS,
            codebook_size=_CODEBOOK_SIZE,
            window_seconds=30.0,
            overlap_seconds=overlap_seconds,
            precision=precision,
            pack_geometry="none",
            platform="any",
        )

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode(self, waveforms: Sequence[Waveform]) -> list[Codes]:
        """Turn each waveform into codes `[8, L // 1280]`."""
        return [_encode_one(waveform) for waveform in waveforms]

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Codes]]:
        """Encode clips one by one, in order."""
        for tag, waveform in clips:
            yield tag, _encode_one(waveform)

    def decode(self, codes: Sequence[Codes]) -> list[Waveform]:
        """Hold each code's sample value for its share of the frame."""
        return [_decode_one(matrix) for matrix in codes]


def _encode_one(waveform: Waveform) -> Codes:
    num_frames = len(waveform) // _SAMPLES_PER_FRAME
    picked = waveform[: num_frames * _SAMPLES_PER_FRAME : _STRIDE]
    levels = np.clip((picked + 1.0) * (_CODEBOOK_SIZE / 2), 0, _CODEBOOK_SIZE - 1)
    return np.ascontiguousarray(levels.astype(np.int16).reshape(num_frames, _NUM_CODEBOOKS).T)


def _decode_one(matrix: Codes) -> Waveform:
    levels = matrix.astype(np.float32) / (_CODEBOOK_SIZE / 2) - 1.0
    return np.repeat(levels.T.reshape(-1), _SAMPLES_PER_FRAME // matrix.shape[0])
