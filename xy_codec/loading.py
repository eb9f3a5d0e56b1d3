"""`load_codec`: from a name, path, URL or repository to a codec that is ready to encode."""

import hashlib
import logging
from pathlib import Path

import torch

from xy_codec.contract import Codec, CodecIdentity
from xy_codec.engine.device import open_device, platform_name
from xy_codec.engine.geometry import Geometry, geometry_for
from xy_codec.engine.packed_codec import PackedCodec
from xy_codec.engine.precision import dtype_of
from xy_codec.engine.windows import WindowPlan
from xy_codec.fake import FakeCodec
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.weights.source import BUNDLED, find_files, read_config
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.released import VARIANTS, released_config
from xy_codec.xy.state_dict import build_model, head_size, read_released

logger = logging.getLogger(__name__)


def load_codec(
    source: str | Path,
    *,
    config: str | Path | None = None,
    precision: str = "exact",
    device: str = "auto",
    overlap_seconds: float = 10.0,
    compiled: bool = False,
) -> Codec:
    """Load the codec behind `source`, frozen and ready.

    Args:
        source: A bundled name, a checkpoint file, a folder with YAML and checkpoint, an fsspec
            URL or a Hugging Face repository id; `fake` gives a codec without a model.
        config: The YAML, where it does not lie beside the checkpoint.
        precision: `exact` (float32, equals the reference) or `fast`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        overlap_seconds: Right context of windows in clips that need several.
        compiled: Compile the encoder with `torch.compile`, into CUDA graphs on a GPU; its codes
            count as another pack geometry's.

    >>> import numpy
    >>> codec = xytok.load_codec("xy-nano")
    >>> clip = next(iter(xytok.open_dataset("codes")))
    >>> (speech,) = codec.decode([numpy.asarray(clip.codes)])
    >>> speech.shape, codec.identity.output_rate_hz
    ((186880,), 16000)
    >>> (codes,) = codec.encode([speech])
    >>> codes.shape
    (8, 146)
    """
    if str(source) == "fake":
        return FakeCodec(overlap_seconds, precision)
    files = find_files(str(source), None if config is None else str(config))
    logger.info("Reading the checkpoint `%s`", files.weights)
    checkpoint = read_released(files.weights)
    sizes = (
        CodecConfig.from_mapping(read_config(files.config))
        if files.config
        else released_config(head_size(checkpoint))
    )
    return assemble(sizes, checkpoint, precision, device, overlap_seconds, compiled)


def assemble(
    config: CodecConfig,
    checkpoint: Checkpoint,
    precision: str = "exact",
    device: str = "auto",
    overlap_seconds: float = 10.0,
    compiled: bool = False,
) -> PackedCodec:
    """The codec of a checkpoint that has been read already."""
    where = open_device(device)
    plan = WindowPlan.of(
        config.input_sample_rate,
        config.feature_extractor_kwargs.chunk_length,
        config.encoder_downsample_rate,
        overlap_seconds,
    )
    geometry = geometry_for(where, compiled)
    identity = _identity(config, checkpoint, where, precision, overlap_seconds, geometry)
    dtype = dtype_of(precision, where)
    model = build_model(config, checkpoint).to(where)
    return PackedCodec(model, dtype, identity, plan, where, geometry)


def _identity(
    config: CodecConfig,
    checkpoint: Checkpoint,
    device: torch.device,
    precision: str,
    overlap_seconds: float,
    geometry: Geometry,
) -> CodecIdentity:
    return CodecIdentity(
        name=_name(config, checkpoint),
        checkpoint_sha256=checkpoint.sha256,
        input_rate_hz=config.input_sample_rate,
        output_rate_hz=config.output_sample_rate,
        samples_per_frame=config.encoder_downsample_rate,
        num_codebooks=config.quantizer_kwargs.num_quantizers,
        codebook_size=config.quantizer_kwargs.codebook_size,
        window_seconds=float(config.feature_extractor_kwargs.chunk_length),
        overlap_seconds=float(overlap_seconds),
        precision=precision,
        pack_geometry=geometry.name,
        platform=platform_name(device),
    )


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
