"""Codecs of transformers in the catalogue: how a folder of one is known, and its releases."""

from dataclasses import dataclass
from pathlib import Path

from xy_codec.catalogue import Family, Release
from xy_codec.codes_shape import CodesShape
from xy_codec.errors import CheckpointError
from xy_codec.options import BandwidthOptions, DepthOptions
from xy_codec.weights.source import CodecPlace

_WEIGHTS = "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class HubOptions(BandwidthOptions, DepthOptions):
    """What codecs of transformers have; each has one of them, or none, as its row says."""


def _recognises(place: CodecPlace) -> bool:
    config = place.json("config.json")
    # An XY-Tokenizer may come with a JSON of transformers; its sizes are its own.
    return "model_type" in config and "quantizer_kwargs" not in config


def _release(
    source: str,
    licence: str,
    rate: int,
    hop: int,
    codebooks: tuple[int, ...],
    option: str = "",
    *,
    output_rate: int | None = None,
    semantic: int = 0,
) -> Release:
    """A release as its config.json says; `option` is the one that it has."""
    output_rate = output_rate or rate
    shape = CodesShape(
        input_rate_hz=rate,
        output_rate_hz=output_rate,
        samples_per_frame=hop,
        output_samples_per_frame=hop * output_rate // rate,
        codebook_sizes=codebooks,
        semantic_codebooks=tuple(range(semantic)),
    )
    return Release(source, shape, licence, f"option {option}" if option else "")


# The cards of these weights were not read.
_NOT_SEEN = "see its card"
_EIGHT = (1024,) * 8
_RELEASES = (
    _release("kyutai/mimi", "CC-BY-4.0", 24000, 1920, (2048,) * 32, "depth", semantic=1),
    _release("descript/dac_16khz", "MIT", 16000, 320, (1024,) * 12, "depth"),
    _release("descript/dac_24khz", "MIT", 24000, 320, (1024,) * 32, "depth"),
    _release("descript/dac_44khz", "MIT", 44100, 512, (1024,) * 9, "depth"),
    _release("facebook/encodec_24khz", _NOT_SEEN, 24000, 320, (1024,) * 32, "bandwidth"),
    _release("hf-audio/xcodec-hubert-librispeech", _NOT_SEEN, 16000, 320, _EIGHT, "bandwidth"),
    _release("HKUSTAudio/xcodec2-hf", "CC-BY-NC-4.0", 16000, 320, (65536,)),
    _release("neuphonic/neucodec", "Apache-2.0", 16000, 320, (65536,), output_rate=24000),
    _release("bosonai/higgs-audio-v2-tokenizer", "its own", 24000, 960, _EIGHT, "bandwidth"),
    _release("swiss-ai/wavtokenizer-large-unify-40token", "MIT", 24000, 600, (4096,)),
)


def weight_files(place: CodecPlace) -> list[Path]:
    """The one file of weights; what else loading needs must lie beside it."""
    for name in (_WEIGHTS, PREPROCESSOR):
        if not (place.path / name).is_file():
            raise CheckpointError(
                f"`{place.source}` has no `{name}`; expected a folder with config.json, {_WEIGHTS} "
                f"and {PREPROCESSOR}, as transformers saves a model and its feature extractor. "
                "Download the whole release, or save it again with `save_pretrained`."
            )
    return [place.path / _WEIGHTS]


FAMILY = Family(
    name="transformers",
    package="xy_codec.hub",
    recognises=_recognises,
    releases=_RELEASES,
    company="alone",
    options=HubOptions,
    weight_files=weight_files,
)
