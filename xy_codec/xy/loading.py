"""Building an XY-Tokenizer from its files: configuration, weights, identity."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

import torch

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity
from xy_codec.engine.attention import attention_name
from xy_codec.engine.device import open_device, platform_name
from xy_codec.engine.geometry import Program, geometry_for
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.programs import (
    check_compiler,
    keep_compiled,
    named_program,
    read_program,
    warn_of_one_shape,
)
from xy_codec.engine.windows import WindowPlan
from xy_codec.errors import ConfigError
from xy_codec.options import depth_of, read_options, stated
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.weights.source import BUNDLED, CodecPlace, find_files, read_config, settings_sha256
from xy_codec.xy.config import CodecConfig, VocoderConfig
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
    dtype = dtype_of(precision, where)
    program = _program(chosen, compiled, where)
    geometry = geometry_for(where, program)
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
        attention=attention_name(where, dtype, has_one_shape=geometry.has_one_shape),
        platform=platform_name(where),
        options=stated(_identifying(chosen, depth, program)),
    )
    model = build_model(config, checkpoint).to(where)
    return PackedCodec(
        model, dtype, identity, plan, where, geometry,
        as_graph=compiled or chosen.program == "graph",
        # Its tensors have moved into the model.
        exact=lambda: assemble(
            config, read_released(checkpoint.path), "exact", str(where), compiled, options
        ),
    )  # fmt: skip


def _program(chosen: XYOptions, compiled: bool, device: torch.device) -> Program:
    """How packs run; sees to the compiler, if they want one."""
    program = read_program(chosen.program, device)
    if compiled and chosen.program is not None:
        raise ConfigError(
            f"Option `program` is `{chosen.program}` beside `--compile`, which is a program of its "
            "own; expected one of the two. Leave one out."
        )
    if chosen.compile_cache is not None:
        keep_compiled(chosen.compile_cache)
    if compiled:
        check_compiler(device, "`--compile`")
        warn_of_one_shape(device)
        return "compiled"
    return program


def _identifying(chosen: XYOptions, depth: int, program: Program) -> XYOptions:
    """The options that codes depend on: a graph computes what its program does."""
    return replace(chosen, depth=depth, program=named_program(program), compile_cache=None)


def _name(config: CodecConfig, checkpoint: Checkpoint) -> str:
    if "name" in checkpoint.metadata:
        return checkpoint.metadata["name"]
    if checkpoint.path.parent.parent == BUNDLED:
        return checkpoint.path.parent.name
    is_vocos = isinstance(config.vocos_kwargs, VocoderConfig)
    size = head_size(checkpoint) if is_vocos else 0
    if size in VARIANTS and config == released_config(size):
        return VARIANTS[size][0]
    # Heads are not visible in a checkpoint's shapes, so other sizes are named by all of them.
    return f"xy-{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"
