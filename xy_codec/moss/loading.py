"""Building a MOSS-Audio-Tokenizer from its files: configuration, weights, identity."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity
from xy_codec.engine.attention import attention_name
from xy_codec.engine.causal import BLOCK_FRAMES
from xy_codec.engine.device import open_device, platform_name
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.programs import named_program, read_program
from xy_codec.moss.codec import CPU, CUDA, MossCodec
from xy_codec.moss.config import CodecConfig
from xy_codec.moss.family import MossOptions, read_config, shape_of
from xy_codec.moss.released import NAME, released_config
from xy_codec.moss.state_dict import build_model
from xy_codec.options import depth_of, read_options, stated
from xy_codec.weights.checkpoint import Checkpoint, read_checkpoint
from xy_codec.weights.shards import find_index, read_shards
from xy_codec.weights.source import CodecPlace, find_files, settings_sha256

logger = logging.getLogger(__name__)


def load(place: CodecPlace, wish: Wish) -> MossCodec:
    """The codec of a place."""
    config = CodecConfig.from_mapping(read_config(place))
    index = find_index(place.path)
    weights = index or find_files(place).weights
    logger.info("Reading the checkpoint `%s`", weights)
    checkpoint = read_shards(index) if index else read_checkpoint(weights)
    return assemble(config, checkpoint, wish.device, wish.options or {})


def assemble(
    config: CodecConfig,
    checkpoint: Checkpoint,
    device: str = "auto",
    options: Mapping[str, object] | None = None,
) -> MossCodec:
    """The codec of a checkpoint that has been read already."""
    name = _name(config)
    chosen = read_options(MossOptions, options or {}, name)
    depth = depth_of(chosen.depth, config.quantizer.num_quantizers, name)
    where = open_device(device)
    program = read_program(chosen.program, where)
    geometry = (CPU if where.type == "cpu" else CUDA).with_program(program)
    dtype = dtype_of("exact", where)
    identity = CodecIdentity(
        name=name,
        checkpoint_sha256=checkpoint.sha256,
        config_sha256=settings_sha256(asdict(config)),
        shape=shape_of(config, depth),
        company="packed",
        span="causal",
        tail="drop",
        decodes="yes",
        precision="exact",
        pack_geometry=f"{geometry.name}-blocks{BLOCK_FRAMES}",
        attention=attention_name(
            where, dtype, has_one_shape=geometry.has_one_shape, is_causal=True
        ),
        platform=platform_name(where),
        options=stated(replace(chosen, depth=depth, program=named_program(program))),
    )
    model = build_model(config, checkpoint).to(where)
    as_graph = chosen.program == "graph"
    return MossCodec(model, identity, where, geometry, as_graph=as_graph)


def _name(config: CodecConfig) -> str:
    """The release's name, or one of all sizes: heads and windows show in no weight's shape."""
    return NAME if config == released_config() else f"moss-{settings_sha256(asdict(config))[:8]}"
