"""What differs between the codec classes of transformers, one row a class; imports no transformers.

`transformers_model.py` runs a row's class. What a row says of lengths and sizes was read in the
class and is tried again by `self_test.py` whenever a codec is loaded.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xy_codec.codes_shape import CodesShape

# A configuration object of transformers, whose classes differ from row to row.
Config = Any
Rounding = Literal["down", "up", "one_more"]


@dataclass(frozen=True, slots=True)
class Row:
    """One class.

    Attributes:
        since: the first version of transformers that has it.
        rates_hz: at the input and at the output.
        hops: samples of a frame at the input and at the output.
        frames: a clip of L samples has L / hop frames, rounded `down` or `up`, or `one_more` than
            rounded down.
        tail: see `CodecIdentity`.
        choice: what the user may choose, by the name of our option; fewer codebooks in all cases.
        choice_argument: what the class calls it.
        choices: the values that it may have, the one with all codebooks last.
        max_seconds: longer clips are refused. A second of these codecs costs the more memory the
            longer the clip is, by attention over all of it; this many need less than about 3 GB.
        required: values of the configuration that the row was written for.
        semantic: how many of the first codebooks were trained to hold meaning.
        is_chunked: codes have an axis of chunks, and there are scales beside them.
        libraries: packages beside transformers whose code is part of the encoder.
        embed: the class and codes `[K', T]` to quantised embeddings `[D, T]`, as its decoder does.
    """

    model: str
    since: str
    rates_hz: Callable[[Config], tuple[int, int]]
    hops: Callable[[Config], tuple[int, int]]
    frames: Rounding
    tail: Literal["zero_to_frame", "native"]
    entries: Callable[[Config], int] = lambda config: config.codebook_size
    choice: Literal["depth", "bandwidth"] | None = None
    choice_argument: str = ""
    choices: Callable[[Config], Sequence[float]] = lambda _: ()
    max_seconds: float | None = None
    is_causal: Callable[[Config], bool] = lambda _: False
    required: Mapping[str, object] = field(default_factory=dict)
    semantic: Callable[[Config], int] = lambda _: 0
    is_chunked: bool = False
    libraries: tuple[str, ...] = ()
    embed: Callable[[Any, Any], Any] = lambda module, codes: module.quantizer.decode(
        codes[:, None]
    )[0]

    def shape(self, config: Config, num_codebooks: int) -> CodesShape:
        """The shape of the codes of a configuration, with so many codebooks."""
        (rate, output_rate), (hop, output_hop) = self.rates_hz(config), self.hops(config)
        return CodesShape(
            input_rate_hz=rate,
            output_rate_hz=output_rate,
            samples_per_frame=hop,
            output_samples_per_frame=output_hop,
            codebook_sizes=(self.entries(config),) * num_codebooks,
            semantic_codebooks=tuple(range(min(self.semantic(config), num_codebooks))),
            padding_samples={"down": 0, "up": hop - 1, "one_more": hop}[self.frames],
            min_samples=hop if self.frames == "down" else 1,
            max_seconds=self.max_seconds,
        )


def _twice(name: str) -> Callable[[Config], tuple[int, int]]:
    """The same value at the input and at the output."""
    return lambda config: (getattr(config, name),) * 2


def _levels(config: Config) -> int:
    return math.prod(config.quantization_levels)


def _from_levels(module: Any, codes: Any) -> Any:
    return module.quantizer.from_codes(codes.T[None])[0].T


def _bandwidths(config: Config) -> Sequence[float]:
    return sorted(config.target_bandwidths)


def _mimi_hop(config: Config) -> tuple[int, int]:
    # Its frame rate is exact, unlike those of the others; `hop_length` is not in its configuration.
    hop = round(config.sampling_rate / config.frame_rate)
    return hop, hop


_MONO = {"audio_channels": 1}

ROWS: Mapping[str, Row] = {
    "dac": Row(
        model="DacModel",
        since="4.44",
        rates_hz=_twice("sampling_rate"),
        hops=_twice("hop_length"),
        frames="up",
        tail="zero_to_frame",
        choice="depth",
        choice_argument="n_quantizers",
        choices=lambda config: range(1, config.n_codebooks + 1),
        embed=lambda module, codes: module.quantizer.from_codes(codes[None])[0][0],
    ),
    "encodec": Row(
        model="EncodecModel",
        since="4.31",
        rates_hz=_twice("sampling_rate"),
        hops=_twice("hop_length"),
        frames="up",
        tail="native",
        choice="bandwidth",
        choice_argument="bandwidth",
        choices=_bandwidths,
        is_causal=lambda config: config.use_causal_conv,
        # With chunks or a normalisation, scales would have to be kept beside the codes.
        required=_MONO | {"normalize": False, "chunk_length_s": None},
        is_chunked=True,
    ),
    "mimi": Row(
        model="MimiModel",
        since="4.45",
        rates_hz=_twice("sampling_rate"),
        hops=_mimi_hop,
        frames="up",
        tail="native",
        choice="depth",
        choice_argument="num_quantizers",
        choices=lambda config: range(config.num_semantic_quantizers, config.num_quantizers + 1),
        max_seconds=600,
        is_causal=lambda _: True,
        required=_MONO,
        semantic=lambda config: config.num_semantic_quantizers,
        embed=lambda module, codes: module.quantizer.decode(codes[None])[0],
    ),
    "xcodec": Row(
        model="XcodecModel",
        since="4.56",
        rates_hz=_twice("sample_rate"),
        hops=_twice("hop_length"),
        frames="up",
        tail="zero_to_frame",
        choice="bandwidth",
        choice_argument="bandwidth",
        choices=_bandwidths,
        max_seconds=120,
    ),
    "xcodec2": Row(
        model="Xcodec2Model",
        since="5.13",
        rates_hz=_twice("sampling_rate"),
        hops=_twice("hop_length"),
        entries=_levels,
        frames="one_more",
        tail="zero_to_frame",
        max_seconds=60,
        libraries=("torchaudio",),
        embed=_from_levels,
    ),
    "neucodec": Row(
        model="NeuCodecModel",
        since="5.17",
        rates_hz=lambda config: (config.input_sampling_rate, config.output_sampling_rate),
        hops=lambda config: (config.encoder_hop_length, config.hop_length),
        entries=_levels,
        # Its two branches differ by a frame, and it keeps the shorter one.
        frames="down",
        tail="native",
        max_seconds=60,
        libraries=("torchaudio",),
        embed=_from_levels,
    ),
    "wavtokenizer": Row(
        model="WavTokenizerModel",
        since="5.24",
        rates_hz=_twice("sampling_rate"),
        hops=_twice("hop_length"),
        frames="up",
        tail="native",
        max_seconds=300,
        required=_MONO,
        embed=lambda module, codes: module.encoder_model.quantizer.decode(codes)[0],
    ),
    "higgs_audio_v2_tokenizer": Row(
        model="HiggsAudioV2TokenizerModel",
        since="5.3",
        rates_hz=_twice("sample_rate"),
        hops=_twice("hop_length"),
        frames="up",
        tail="zero_to_frame",
        choice="bandwidth",
        choice_argument="bandwidth",
        choices=_bandwidths,
        max_seconds=120,
        libraries=("torchaudio",),
    ),
}

# Types that are audio tokenizers of transformers too, but have no codes.
LATENTS_ONLY = ("pocket_tts", "vibevoice")
