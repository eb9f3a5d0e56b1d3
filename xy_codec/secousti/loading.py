"""Building a SecoustiCodec from its two files: weights, sizes, identity."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity
from xy_codec.engine.attention import attention_name
from xy_codec.engine.device import open_device, platform_name
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.programs import named_program, read_program
from xy_codec.options import read_options, stated
from xy_codec.secousti.codec import CPU, CUDA, SecoustiCodec
from xy_codec.secousti.config import CodecConfig
from xy_codec.secousti.family import SecoustiOptions, codec_files, shape_of
from xy_codec.secousti.released import RELEASES, released_config
from xy_codec.secousti.state_dict import build_model, config_of, read_released
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.weights.source import CodecPlace, settings_sha256

logger = logging.getLogger(__name__)


def load(place: CodecPlace, wish: Wish) -> SecoustiCodec:
    """The codec of a place."""
    codec, vocoder = codec_files(place)
    logger.info("Reading the checkpoints `%s` and `%s`", codec, vocoder)
    return assemble(read_released(codec, vocoder), wish.device, wish.options or {})


def assemble(
    checkpoint: Checkpoint, device: str = "auto", options: Mapping[str, object] | None = None
) -> SecoustiCodec:
    """The codec of a checkpoint that has been read already."""
    config = config_of(checkpoint)
    name = _name(config)
    chosen = read_options(SecoustiOptions, options or {}, name)
    where = open_device(device)
    dtype = dtype_of("exact", where)
    program = read_program(chosen.program, where)
    geometry = (CPU if where.type == "cpu" else CUDA).with_program(program)
    identity = CodecIdentity(
        name=name,
        checkpoint_sha256=checkpoint.sha256,
        config_sha256=settings_sha256(asdict(config)),
        shape=shape_of(config, chosen.allow_upsampling),
        company="packed",
        span="causal",
        tail="native",
        decodes="seed",
        precision="exact",
        pack_geometry=geometry.name,
        attention=attention_name(
            where, dtype, has_one_shape=geometry.has_one_shape, is_causal=True
        ),
        platform=platform_name(where),
        options=stated(replace(chosen, program=named_program(program))),
    )
    model = build_model(config, checkpoint).to(where)
    as_graph = chosen.program == "graph"
    return SecoustiCodec(model, identity, where, geometry, as_graph=as_graph)


def _name(config: CodecConfig) -> str:
    stride = config.strides[0]
    if config == released_config(stride):
        return RELEASES[stride][0]
    return f"secousti-{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"
