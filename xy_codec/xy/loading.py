"""Building an XY-Tokenizer from its files: configuration, weights, identity."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity
from xy_codec.engine.device import open_device, platform_name
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.windows import WindowPlan
from xy_codec.options import depth_of, read_options, stated
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.weights.source import BUNDLED, CodecPlace, find_files, read_config, settings_sha256
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.family import XYOptions, shape_of
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.released import VARIANTS, released_config
from xy_codec.xy.state_dict import build_model, head_size, read_released

logger = logging.getLogger(__name__)


def load(place: CodecPlace, wish: Wish) -> PackedCodec:
    """The codec of a place."""
    files = find_files(place)
    logger.info("Reading the checkpoint `%s`", files.weights)
    checkpoint = read_released(files.weights)
    config = (
        CodecConfig.from_mapping(read_config(files.config))
        if files.config
        else released_config(head_size(checkpoint))
    )
    return assemble(
        config, checkpoint, wish.precision, wish.device, wish.compiled, wish.options or {}
    )


def assemble(
    config: CodecConfig,
    checkpoint: Checkpoint,
    precision: str = "exact",
    device: str = "auto",
    compiled: bool = False,
    options: Mapping[str, object] | None = None,
) -> PackedCodec:
    """The codec of a checkpoint that has been read already."""
    name = _name(config, checkpoint)
    chosen = read_options(XYOptions, options or {}, name)
    depth = depth_of(chosen.depth, config.quantizer_kwargs.num_quantizers, name)
    where = open_device(device)
    plan = WindowPlan.of(
        config.input_sample_rate,
        config.feature_extractor_kwargs.chunk_length,
        config.encoder_downsample_rate,
        chosen.overlap_seconds,
    )
    geometry = geometry_for(where, compiled)
    identity = CodecIdentity(
        name=name,
        checkpoint_sha256=checkpoint.sha256,
        config_sha256=settings_sha256(asdict(config)),
        shape=shape_of(config, depth),
        company="packed",
        span="windows",
        tail="drop",
        decodes="yes",
        precision=precision,
        pack_geometry=geometry.name,
        attention="flex" if compiled else "sdpa",
        platform=platform_name(where),
        options=stated(replace(chosen, depth=depth)),
    )
    dtype = dtype_of(precision, where)
    model = build_model(config, checkpoint).to(where)
    return PackedCodec(model, dtype, identity, plan, where, geometry)


def _name(config: CodecConfig, checkpoint: Checkpoint) -> str:
    if "name" in checkpoint.metadata:
        return checkpoint.metadata["name"]
    if checkpoint.path.parent.parent == BUNDLED:
        return checkpoint.path.parent.name
    size = head_size(checkpoint)
    if size in VARIANTS and config == released_config(size):
        return VARIANTS[size][0]
    # Heads are not visible in a checkpoint's shapes, so other sizes are named by all of them.
    return f"xy-{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"
