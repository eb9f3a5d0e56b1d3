"""The contract between a codec and everything that uses one; numpy only, no torch.

A waveform is float32 `[L]`, mono, at the codec's input rate. Codes are integers `[K, T]`, of the
type that the codec's `CodesShape` states. Some codecs have float32 values of a clip beside its
codes: the side. `catalogue.py` lists the codecs.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from xy_codec.codes_shape import CodesShape
from xy_codec.errors import CodesError
from xy_codec.inputs import check_codes, check_side, check_waveform

Waveform = NDArray[np.float32]
Codes = NDArray[np.signedinteger[Any]]
Side = NDArray[np.float32]
Embeddings = NDArray[np.float32]
Tag = TypeVar("Tag", bound=Hashable)
Option = str | int | float | bool
NO_FILE = ""


class Encoded(NamedTuple):
    """What a codec makes of a clip; `side` is None where the codec has no side values."""

    codes: Codes
    side: Side | None = None

    @classmethod
    def without_frames(cls, shape: CodesShape) -> "Encoded":
        """The result for a clip too short for a frame."""
        side = np.zeros(shape.side_floats, np.float32) if shape.side_floats else None
        return cls(np.empty((shape.num_codebooks, 0), shape.dtype), side)


class CodedClip(NamedTuple):
    """What a decoder gets of a clip; the key is the seed of its noise, where it draws some."""

    codes: Codes
    side: Side | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CodecIdentity:
    """Everything about a codec that its codes depend on; two equal identities give equal codes.

    Attributes:
        config_sha256: of the sizes and settings that the model was built with.
        preprocessor_sha256: of the settings of its front end, where they are a file of their own.
        tail: what becomes of samples behind the last whole frame: they are dropped, filled with
            zeros to a frame, or padded as the codec's reference pads (`native`).
        decodes: `seed` where the decoder draws noise, from a seed of the clip's key.
        company: `packed`: clips go through the model together and keep the bits they have alone;
            `alone`: one clip at a time, at its true length.
        span: long clips are cut into `windows`, taken `whole`, or the codec is `causal`.
        options: what the user may choose, e.g. `depth`.
        attention: how attention is computed.
        libraries: the versions of packages whose code is part of the codec.
    """

    name: str
    checkpoint_sha256: str
    config_sha256: str
    shape: CodesShape
    company: Literal["packed", "alone"]
    span: Literal["windows", "whole", "causal"]
    tail: Literal["drop", "zero_to_frame", "native"]
    decodes: Literal["yes", "no", "seed"]
    precision: str
    pack_geometry: str
    attention: str
    platform: str
    options: Mapping[str, Option] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    preprocessor_sha256: str = NO_FILE

    def to_dict(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        return asdict(self)


@dataclass(slots=True)
class Counters:
    """What a codec has done so far, and how much it does ahead.

    Attributes:
        packs_run: grows with all work; one clip can take many packs, so a codec that makes
            progress is told from one that hangs.
        times_out_of_memory: how often a pack had to wait for memory.
        reruns_in_exact: how often a window of a clip had values that half precision cannot hold,
            and ran again in float32.
        packs_in_flight: packs that run while the host prepares the next; 0 where there is no
            accelerator. It may be set: it changes no code.
    """

    packs_run: int = 0
    times_out_of_memory: int = 0
    reruns_in_exact: int = 0
    packs_in_flight: int = 0


class Codec(ABC):
    """A frozen codec: the same codes for the same clip whatever else is encoded beside it.

    A codec implements `identity`, `encode_stream` and `_decode`, and `_embed` where it can; their
    callers are here.
    """

    def __init__(self) -> None:
        self.counters = Counters()

    @property
    @abstractmethod
    def identity(self) -> CodecIdentity:
        """What the codes of this codec depend on."""

    @property
    def shape(self) -> CodesShape:
        """Rates, codebooks and lengths of its codes."""
        return self.identity.shape

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """How many side values `decode` takes; none where the codec has no side values."""
        return (self.shape.side_floats,) if self.shape.side_floats else ()

    @abstractmethod
    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        """Encode an endless stream of tagged clips; results come as packs fill, in any order."""

    @abstractmethod
    def _decode(self, clips: Sequence["CodedClip"]) -> list[Waveform]:
        """Turn codes that were checked into waveforms."""

    def _embed(self, codes: Sequence[Codes]) -> "list[Embeddings] | None":
        """The quantised embeddings of codes that were checked; None without a lookup for them."""
        del codes
        return None

    def embeddings(self, codes: Sequence[Codes]) -> "list[Embeddings] | None":
        """What stands for each `[K', T]` behind the quantiser, `[T, D]`, which a probe reads.

        None where the codec has no lookup from codes to embeddings of its own.
        """
        for position, matrix in enumerate(codes):
            check_codes(matrix, self.shape, f"Codes {position}")
        return self._embed(codes)

    def encode(self, waveforms: Sequence[Waveform], *, rate_hz: int | None = None) -> list[Codes]:
        """Turn each waveform into codes `[K, shape.num_frames(L)]`.

        Args:
            waveforms: Mono float32 at the codec's input rate.
            rate_hz: The waveforms' sample rate, if it should be checked.
        """
        return [encoded.codes for encoded in self.encode_with_side(waveforms, rate_hz=rate_hz)]

    def encode_with_side(
        self, waveforms: Sequence[Waveform], *, rate_hz: int | None = None
    ) -> list[Encoded]:
        """Turn each waveform into codes and side values; the arguments are those of `encode`."""
        for position, waveform in enumerate(waveforms):
            check_waveform(waveform, self.shape, rate_hz, f"Waveform {position}")
        done = dict(self.encode_stream(enumerate(waveforms)))
        return [done[position] for position in range(len(waveforms))]

    def decode(
        self,
        codes: Sequence[Codes],
        *,
        side: Sequence[Side | None] | None = None,
        keys: Sequence[str | None] | None = None,
    ) -> list[Waveform]:
        """Turn each `[K', T]` into a waveform of T frames at the output rate.

        Args:
            codes: K' <= K rows; all K where the codec's prefixes do not decode.
            side: The side values of each, where the codec has some.
            keys: The clips' names, from which a decoder that draws noise takes its seeds; where a
                name is None, or all are left out, it draws none.
        """
        if self.identity.decodes == "no":
            raise CodesError(
                f"Codec `{self.identity.name}` has no decoder; expected one that turns codes into "
                "sound. Decode with the model that these codes were made for."
            )
        sides = [
            None if values is None else np.asarray(values, np.float32)
            for values in (side if side is not None else [None] * len(codes))
        ]
        names = list(keys) if keys is not None else [None] * len(codes)
        for what, count in (("sides", len(sides)), ("keys", len(names))):
            if count != len(codes):
                raise CodesError(
                    f"{count} {what} were given for {len(codes)} codes; expected one for each. "
                    "Give None where there is none."
                )
        for position, (matrix, values) in enumerate(zip(codes, sides, strict=True)):
            check_codes(matrix, self.shape, f"Codes {position}")
            check_side(values, self.side_sizes, position)
        return self._decode(list(map(CodedClip, codes, sides, names)))

    def decode_encoded(
        self, clips: Sequence[Encoded], *, keys: Sequence[str | None] | None = None
    ) -> list[Waveform]:
        """Turn what `encode_with_side` gave into waveforms; the keys are those of `decode`."""
        sides = [clip.side for clip in clips]
        return self.decode([clip.codes for clip in clips], side=sides, keys=keys)


def seed_of(key: str) -> int:
    """The seed of a clip's noise: the same for the same key on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1
