"""Loading a codec of transformers from a folder: its row, the user's choice, its identity."""

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity, Option
from xy_codec.engine.device import platform_name
from xy_codec.errors import ConfigError
from xy_codec.hub.alone import GEOMETRY, AloneCodec, open_reproducible
from xy_codec.hub.family import PREPROCESSOR, weight_files
from xy_codec.hub.self_test import self_tested
from xy_codec.hub.table import LATENTS_ONLY, ROWS, Config, Row
from xy_codec.hub.transformers_model import (
    TransformersModel,
    attention_of,
    load_transformers_model,
    read_transformers_config,
)
from xy_codec.options import BandwidthOptions, DepthOptions, NoOptions, read_options
from xy_codec.weights.source import CodecPlace, files_sha256, settings_sha256

_OPTIONS = {None: NoOptions, "depth": DepthOptions, "bandwidth": BandwidthOptions}


def load(place: CodecPlace, wish: Wish) -> AloneCodec:
    """The codec of a folder."""
    device = open_reproducible(place, wish)
    name, row = _row_of(place)
    chosen: object = read_options(_OPTIONS[row.choice], wish.options or {}, name)
    weights = weight_files(place)
    config = read_transformers_config(place.path, row)
    option = _option(row, config, getattr(chosen, row.choice or "", None), name)
    model = load_transformers_model(place.path, row, config, option, device)
    identity = CodecIdentity(
        name=name,
        checkpoint_sha256=files_sha256(weights),
        config_sha256=settings_sha256(place.json("config.json")),
        preprocessor_sha256=settings_sha256(place.json(PREPROCESSOR)),
        shape=row.shape(config, _num_codebooks(model, option)),
        company="alone",
        span="causal" if row.is_causal(config) else "whole",
        tail=row.tail,
        decodes="yes",
        precision=wish.precision,
        pack_geometry=GEOMETRY,
        attention=attention_of(model.module),
        platform=platform_name(device),
        options=option,
        libraries={package: version(package) for package in ("transformers", *row.libraries)},
    )
    return self_tested(model, identity)


def _row_of(place: CodecPlace) -> tuple[str, Row]:
    name = str(place.json("config.json")["model_type"])
    if name in ROWS:
        return name, ROWS[name]
    latents = name.startswith(LATENTS_ONLY)
    why = "has continuous latents instead of codes" if latents else "xytok does not know as a codec"
    raise ConfigError(
        f"`{place.source}` is of the type `{name}`, which {why}; expected one of "
        f"{', '.join(sorted(ROWS))}. `xytok codecs` lists their releases."
    )


def _option(row: Row, config: Config, value: float | None, name: str) -> dict[str, Option]:
    """The user's choice, or the one with all codebooks, by the option's name."""
    if row.choice is None:
        return {}
    choices = row.choices(config)
    if value is not None and value not in choices:
        raise ConfigError(
            f"Option `{row.choice}` is {value:g}; expected one of "
            f"{', '.join(f'{choice:g}' for choice in choices)} with `{name}`. Leave it out for "
            f"{choices[-1]:g}."
        )
    kind = int if row.choice == "depth" else float
    return {row.choice: kind(choices[-1] if value is None else value)}


def _num_codebooks(model: TransformersModel, option: Mapping[str, Option]) -> int:
    if "bandwidth" not in option:
        return int(option.get("depth", 1))
    # How many codebooks a bandwidth means, each class computes in a way of its own.
    with torch.inference_mode():
        return len(model.encode(np.zeros(model.sampling_rate, np.float32)))
