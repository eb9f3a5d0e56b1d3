"""A codec of another package behind the contract: one clip at a time, at its true length.

Padding beside a longer clip, or another number of clips in a batch, changes what such a codec gives
for a clip, and so does another number of torch's threads: it always runs with one. What runs the
package's class is a `ClipModel`; this file keeps the promises around it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from xy_codec.catalogue import Wish
from xy_codec.contract import (
    Codec,
    CodecIdentity,
    CodedClip,
    Codes,
    Embeddings,
    Encoded,
    Tag,
    Waveform,
    seed_of,
)
from xy_codec.engine.device import open_device
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.threads import threads
from xy_codec.errors import CodesError, ConfigError
from xy_codec.inputs import check_waveform
from xy_codec.weights.source import CodecPlace

# The pack geometry of these codecs.
GEOMETRY = "alone, 1 thread"


class ClipModel(Protocol):
    """A package's class, called the way that its authors call it for a single clip."""

    module: nn.Module

    def encode(self, waveform: Waveform) -> Tensor:
        """Integers `[K, T]` of a clip of at least `min_samples`."""
        ...

    def decode(self, codes: Tensor, seed: int | None, /) -> Tensor:
        """Samples `[L]` of codes `[K', T]`, with noise from `seed` where the decoder draws some."""
        ...

    def embed(self, codes: Tensor) -> Tensor | None:
        """Quantised embeddings `[D, T]` of codes `[K', T]`; None where they have another rate."""
        ...


class AloneCodec(Codec):
    """A clip's codes are those that the package's own class gives for this clip and no other."""

    def __init__(self, model: ClipModel, identity: CodecIdentity) -> None:
        super().__init__()
        self._model = model
        self._identity = identity

    @property
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""
        return self._identity

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        """Encode clips one by one, in order."""
        for tag, waveform in clips:
            check_waveform(waveform, self.shape, None, f"Waveform `{tag}`")
            yield tag, Encoded(self._encode_one(waveform))

    def _encode_one(self, waveform: Waveform) -> Codes:
        expected = (self.shape.num_codebooks, self.shape.num_frames(len(waveform)))
        if not expected[1]:
            return Encoded.without_frames(self.shape).codes
        try:
            codes = self._run_encoder(waveform)
        except torch.cuda.OutOfMemoryError:
            codes = None
        if codes is None:
            # Outside of `except`, whose traceback would keep the failed attempt's memory.
            self.counters.times_out_of_memory += 1
            torch.cuda.empty_cache()
            codes = self._run_encoder(waveform)
        self.counters.packs_run += 1
        if codes.shape != expected:
            raise CodesError(
                f"Codec `{self.identity.name}` gave codes {list(codes.shape)} for {len(waveform)} "
                f"samples; expected {list(expected)}. Use the package versions of its identity: "
                f"{dict(self.identity.libraries)}."
            )
        return codes

    def _run_encoder(self, waveform: Waveform) -> Codes:
        with torch.inference_mode(), threads(1):
            codes: Codes = self._model.encode(waveform).cpu().numpy().astype(self.shape.dtype)
            return codes

    def _decode(self, clips: Sequence[CodedClip]) -> list[Waveform]:
        return [self._decode_one(clip.codes, clip.key) for clip in clips]

    def _embed(self, codes: Sequence[Codes]) -> list[Embeddings] | None:
        found: list[Embeddings] = []
        for each in codes:
            with torch.inference_mode(), threads(1):
                steps = self._model.embed(torch.from_numpy(each).long())
            if steps is None:
                return None
            found.append(steps.T.cpu().numpy())
        return found

    def _decode_one(self, codes: Codes, key: str | None) -> Waveform:
        wanted = torch.zeros(codes.shape[1] * self.shape.output_samples_per_frame)
        if codes.shape[1]:
            seed = None if key is None else seed_of(key)
            with torch.inference_mode(), threads(1):
                samples = self._model.decode(torch.from_numpy(codes).long(), seed).cpu()
            # Odd strides give a few samples less than the frames have, rounded-up tails more.
            kept = min(len(samples), len(wanted))
            wanted[:kept] = samples[:kept]
        return wanted.numpy()


def open_reproducible(place: CodecPlace, wish: Wish) -> torch.device:
    """The device that was asked for, set up to give the same bits again; float32 without TF32."""
    if place.config:
        raise ConfigError(
            f"`config` is {place.config} with `{place.source}`; expected nothing, because another "
            "package's class runs it, as its folder says. Leave it out."
        )
    device = open_device(wish.device)
    dtype_of("exact", device)
    if device.type == "cuda":
        # Recurrent layers run streams of their own, which must not share a workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Global in torch. Autotuning picks kernels by their speed, another time another one.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return device
