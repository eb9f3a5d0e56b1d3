"""SpeechTokenizer in the catalogue: how a folder of one is known, and its releases."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xy_codec.catalogue import Family, Release, one_checkpoint
from xy_codec.codes_shape import CodesShape
from xy_codec.options import DepthOptions
from xy_codec.weights.source import CodecPlace


def shape_of(config: Mapping[str, Any], depth: int) -> CodesShape:
    """The shape of the codes of a configuration, of its first `depth` codebooks."""
    rate, hop = config["sample_rate"], math.prod(config["strides"])
    return CodesShape(
        input_rate_hz=rate,
        output_rate_hz=rate,
        samples_per_frame=hop,
        output_samples_per_frame=hop,
        codebook_sizes=(config["codebook_size"],) * depth,
        # Trained on the features of HuBERT.
        semantic_codebooks=(0,),
        padding_samples=hop - 1,
    )


def inner_place(place: CodecPlace) -> CodecPlace:
    """The folder with config.json and weights; the repository has it inside of it."""
    inside = place.path / "speechtokenizer_hubert_avg"
    return replace(place, path=inside) if inside.is_dir() else place


_SPEECH = {"sample_rate": 16000, "strides": [8, 5, 4, 2], "codebook_size": 1024}


def _recognises(place: CodecPlace) -> bool:
    config = inner_place(place).json("config.json")
    return {"semantic_dimension", "n_q", *_SPEECH} <= config.keys()


FAMILY = Family(
    name="SpeechTokenizer",
    package="xy_codec.hub.speechtokenizer",
    recognises=_recognises,
    releases=(Release("fnlp/SpeechTokenizer", shape_of(_SPEECH, 8), "Apache-2.0"),),
    company="alone",
    options=DepthOptions,
    weight_files=lambda place: one_checkpoint(inner_place(place)),
)
