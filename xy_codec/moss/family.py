"""MOSS-Audio-Tokenizer in the catalogue: how its checkpoints are known, and its release."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xy_codec.catalogue import Family, Release, one_checkpoint
from xy_codec.codes_shape import CodesShape
from xy_codec.moss.config import CodecConfig, is_moss
from xy_codec.moss.released import REPOSITORY, released_config
from xy_codec.options import DepthOptions, ProgramOptions
from xy_codec.weights.shards import find_index, shard_files
from xy_codec.weights.source import CodecPlace


@dataclass(frozen=True)
class MossOptions(ProgramOptions, DepthOptions):
    """The options of a MOSS-Audio-Tokenizer: those of both."""


def shape_of(config: CodecConfig, depth: int | None = None) -> CodesShape:
    """The shape of the codes of a configuration, of the first `depth` codebooks."""
    quantizer = config.quantizer
    return CodesShape(
        input_rate_hz=config.sampling_rate,
        output_rate_hz=config.sampling_rate,
        samples_per_frame=config.downsample_rate,
        output_samples_per_frame=config.downsample_rate,
        codebook_sizes=(quantizer.codebook_size,) * (depth or quantizer.num_quantizers),
        min_samples=config.downsample_rate,
    )


def read_config(place: CodecPlace) -> dict[str, Any]:
    """The content of the config.json of a place; empty where there is none."""
    if place.config is None:
        folder = place.path if place.path.is_dir() else place.path.parent
        return CodecPlace(place.source, folder).json("config.json")
    if place.config.suffix != ".json":
        return {}
    return CodecPlace(place.source, place.config.parent).json(place.config.name)


def weight_files(place: CodecPlace) -> list[Path]:
    """The one checkpoint, or its shards."""
    index = find_index(place.path)
    return shard_files(index) if index else one_checkpoint(place)


FAMILY = Family(
    name="MOSS-Audio-Tokenizer",
    package="xy_codec.moss",
    recognises=lambda place: is_moss(read_config(place)),
    releases=[Release(REPOSITORY, shape_of(released_config()), "Apache-2.0")],
    company="packed",
    options=MossOptions,
    weight_files=weight_files,
)
