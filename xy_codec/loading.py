"""`load_codec`: from a name, path, URL or repository to a codec that is ready to encode."""

import hashlib
import logging
import platform as machine
from pathlib import Path

import torch

from xy_codec.contract import Codec, CodecIdentity
from xy_codec.engine.geometry import Geometry, geometry_for
from xy_codec.engine.packed_codec import NeuralCodec
from xy_codec.engine.windows import WindowPlan
from xy_codec.errors import ConfigError
from xy_codec.fake import FakeCodec
from xy_codec.weights.checkpoint import Checkpoint, build_model, read_checkpoint
from xy_codec.weights.source import BUNDLED, find_files, read_config
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.released import VARIANTS, released_config

logger = logging.getLogger(__name__)
PRECISIONS = ("exact", "fast")


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
    checkpoint = read_checkpoint(files.weights)
    sizes = (
        CodecConfig.from_mapping(read_config(files.config))
        if files.config
        else released_config(checkpoint.head_rows)
    )
    return assemble(sizes, checkpoint, precision, device, overlap_seconds, compiled)


def assemble(
    config: CodecConfig,
    checkpoint: Checkpoint,
    precision: str = "exact",
    device: str = "auto",
    overlap_seconds: float = 10.0,
    compiled: bool = False,
) -> NeuralCodec:
    """The codec of a checkpoint that has been read already."""
    where = _device(device)
    plan = WindowPlan.of(
        config.input_sample_rate,
        config.feature_extractor_kwargs.chunk_length,
        config.encoder_downsample_rate,
        overlap_seconds,
    )
    geometry = geometry_for(where, compiled)
    identity = _identity(config, checkpoint, where, precision, overlap_seconds, geometry)
    dtype = _products_dtype(precision, where)
    model = build_model(config, checkpoint).to(where)
    model.freeze(dtype)
    return NeuralCodec(model, identity, plan, where, geometry)


def _products_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in PRECISIONS:
        raise ConfigError(
            f"Precision is `{precision}`; expected one of {', '.join(PRECISIONS)}. "
            "Use `exact` if in doubt."
        )
    if device.type == "cuda":
        # Torch's switches are global; a codec whose bits are promised sets them.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if precision == "exact":
        return torch.float32
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise ConfigError(
            "Precision is `fast`, but this CPU has no float16 arithmetic, without which it would "
            "be slow. Expected a GPU or a CPU with AVX512-FP16 or AMX-FP16. Use `exact`."
        )
    return torch.float16


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
    rows = checkpoint.head_rows
    if rows in VARIANTS and config == released_config(rows):
        return VARIANTS[rows][0]
    # Heads are not visible in a checkpoint's shapes, so other sizes are named by all of them.
    return f"xy-{hashlib.sha256(repr(config).encode()).hexdigest()[:8]}"


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"Device is `{name}`; expected `auto`, `cpu`, `cuda` or `cuda:N`. Use `auto`."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"Device is `{name}`; expected `auto`, `cpu`, `cuda` or `cuda:N`.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"Device is `{name}`, but torch {torch.__version__} sees no CUDA device. Use `cpu`, or "
            "install a CUDA build of torch and check the driver with `nvidia-smi`."
        )
    return device


def platform_name(device: torch.device) -> str:
    """What the last bits of a codec depend on beside its weights: the chip and torch's build."""
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device).replace(" ", "-")
        return f"cuda:{chip}/torch-{torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability().lower()
    version = torch.__version__.split("+")[0]
    return f"cpu:{_cpu_model()}/{capability}/torch-{version}"


def _cpu_model() -> str:
    """Vendor, family and model, which choose the kernels of the matrix library."""
    wanted = {"vendor_id": "", "cpu family": "", "model": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return machine.machine()
    for line in lines:
        key, _, value = line.partition(":")
        if wanted.get(key.strip()) == "":
            wanted[key.strip()] = value.strip()
    return "-".join(value for value in wanted.values() if value) or machine.machine()
