"""Codecs without a model, to measure everything around one: equal audio has equal codes.

`fake` has the shape of XY-Tokenizer's codes, `fake-odd` one in which nothing is alike: three
codebooks of different sizes, int32, 21.53 frames a second, lengths rounded up, and side values.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xy_codec.catalogue import Wish
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec, CodecIdentity, CodedClip, Codes, Encoded, Tag, Waveform
from xy_codec.options import depth_of, read_options, stated

FAKES = {
    "fake": CodesShape(16000, 16000, 1280, 1280, (1024,) * 8, min_samples=1280),
    "fake-odd": CodesShape(
        input_rate_hz=22050,
        output_rate_hz=44100,
        samples_per_frame=1024,
        output_samples_per_frame=2048,
        codebook_sizes=(7, 300, 65536),
        semantic_codebooks=(0,),
        padding_samples=1023,
        min_samples=385,
        side_floats=5,
    ),
}


def _checkpoint(name: str) -> str:
    return str(list(FAKES).index(name)) * 64


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """Options of the fake codecs; `overlap_seconds` goes into the identity and does nothing."""

    overlap_seconds: float = 10.0
    depth: int | None = None


def load_fake(name: str, wish: Wish) -> "FakeCodec":
    """The fake codec of a name."""
    wish.refuse_compiled(name)
    options = read_options(FakeOptions, wish.options or {}, name)
    return FakeCodec(name, wish.precision, options)


class FakeCodec(Codec):
    """Codes are the high bits of a few samples of each frame, so damage to audio shows in them."""

    def __init__(
        self, name: str = "fake", precision: str = "exact", options: FakeOptions | None = None
    ) -> None:
        super().__init__()
        self._whole = FAKES[name]
        options = options or FakeOptions()
        depth = depth_of(options.depth, self._whole.num_codebooks, name)
        sizes = self._whole.codebook_sizes[:depth]
        self._identity = CodecIdentity(
            name=name,
            checkpoint_sha256=_checkpoint(name),
            config_sha256="0" * 64,
            shape=replace(self._whole, codebook_sizes=sizes),
            company="alone",
            span="causal",
            tail="zero_to_frame" if self._whole.padding_samples else "drop",
            decodes="yes",
            precision=precision,
            pack_geometry="none",
            attention="none",
            platform="any",
            options=stated(replace(options, depth=depth)),
        )

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        """Encode clips one by one, in order."""
        for tag, waveform in clips:
            self.counters.packs_run += 1
            yield tag, self._encode_one(waveform)

    def _encode_one(self, waveform: Waveform) -> Encoded:
        shape = self._whole
        num_frames = shape.num_frames(len(waveform))
        if not num_frames:
            return Encoded.without_frames(self.shape)
        whole = np.zeros(num_frames * shape.samples_per_frame, np.float32)
        kept = min(len(whole), len(waveform))
        whole[:kept] = waveform[:kept]
        stride = shape.samples_per_frame // shape.num_codebooks
        frames = whole.reshape(num_frames, -1)[:, : stride * shape.num_codebooks : stride].T
        sizes = np.array(shape.codebook_sizes)[:, None]
        levels = np.clip((frames + 1.0) * (sizes / 2).astype(np.float32), 0, sizes - 1)
        side = None
        if shape.side_floats:
            side = np.quantile(waveform, np.linspace(0, 1, shape.side_floats)).astype(np.float32)
        return Encoded(levels[: self.shape.num_codebooks].astype(self.shape.dtype, order="C"), side)

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        """Hold each code's sample value for its share of the frame."""
        return [self._decode_one(clip.codes) for clip in clips]

    def _decode_one(self, matrix: Codes) -> Waveform:
        halves = np.array(self._whole.codebook_sizes[: len(matrix)], np.float32)[:, None] / 2
        levels = matrix.astype(np.float32) / halves - 1.0
        per_code = -(-self.shape.output_samples_per_frame // len(matrix))
        held = np.repeat(levels, per_code, axis=0).T
        wave = held[:, : self.shape.output_samples_per_frame].reshape(-1)
        return np.ascontiguousarray(wave, dtype=np.float32)
