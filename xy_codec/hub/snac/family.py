"""SNAC in the catalogue: how a folder of one is known, its releases, and how its codes lie.

A codebook of stride s has a code every s steps. A frame is a step of the coarsest one, and each
codebook has as many rows as it has codes in a frame: with strides 4, 2 and 1 the seven rows are
codebooks 0, 1, 1, 2, 2, 2, 2. Language models over SNAC read seven codes a frame, too.
"""

import math
from collections.abc import Mapping
from typing import Any

from xy_codec.catalogue import Family, Release
from xy_codec.codes_shape import CodesShape
from xy_codec.weights.source import CodecPlace


def rows_of_codebooks(config: Mapping[str, Any]) -> list[int]:
    """How many rows each codebook has."""
    strides = config["vq_strides"]
    return [strides[0] // stride for stride in strides]


def shape_of(config: Mapping[str, Any]) -> CodesShape:
    """The shape of the codes of a configuration."""
    rate = config["sampling_rate"]
    hop = math.prod(config["encoder_rates"]) * config["vq_strides"][0]
    return CodesShape(
        input_rate_hz=rate,
        output_rate_hz=rate,
        samples_per_frame=hop,
        output_samples_per_frame=hop,
        codebook_sizes=(config["codebook_size"],) * sum(rows_of_codebooks(config)),
        padding_samples=hop - 1,
        prefixes_decode=False,
    )


_SPEECH = {
    "sampling_rate": 24000,
    "encoder_rates": [2, 4, 8, 8],
    "vq_strides": [4, 2, 1],
    "codebook_size": 4096,
}


def _recognises(place: CodecPlace) -> bool:
    return _SPEECH.keys() <= place.json("config.json").keys()


FAMILY = Family(
    name="SNAC",
    package="xy_codec.hub.snac",
    recognises=_recognises,
    releases=(Release("hubertsiuzdak/snac_24khz", shape_of(_SPEECH), "MIT"),),
    company="alone",
)
