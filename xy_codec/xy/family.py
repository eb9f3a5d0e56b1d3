"""XY-Tokenizer in the catalogue: how its checkpoints are known, and its releases."""

from dataclasses import dataclass

from xy_codec.catalogue import Family, Release
from xy_codec.codes_shape import CodesShape
from xy_codec.weights.source import CodecPlace
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.released import VARIANTS, released_config

_REPOSITORIES = {
    "xy-tokenizer-16k": "fdugyt/XY_Tokenizer",
    "xy-tokenizer-ttsd-24k": "OpenMOSS-Team/MOSS_TTSD_tokenizer",
    "xy-tokenizer-ttsd-32k": "OpenMOSS-Team/MOSS_TTSD_tokenizer",
}


@dataclass(frozen=True, slots=True)
class XYOptions:
    """The options of an XY-Tokenizer.

    Attributes:
        overlap_seconds: right context of windows in clips that need several.
        depth: only the first so many codebooks; all without it.
        program: how a pack is encoded and decoded: `tiles`, the default; `pack`, all clips in one
            program of one shape; `graph`, the same program, replayed as a CUDA graph on a GPU. The
            last two are not yet proven on a GPU.
        compile_cache: a folder for what `--compile` and the kernels of a GPU need compiled, so that
            the next start finds it.
    """

    overlap_seconds: float = 10.0
    depth: int | None = None
    program: str | None = None
    compile_cache: str | None = None


def shape_of(config: CodecConfig, depth: int | None = None) -> CodesShape:
    """The shape of the codes of a configuration, of the first `depth` codebooks."""
    quantizer = config.quantizer_kwargs
    return CodesShape(
        input_rate_hz=config.input_sample_rate,
        output_rate_hz=config.output_sample_rate,
        samples_per_frame=config.encoder_downsample_rate,
        output_samples_per_frame=config.decoder_upsample_rate,
        codebook_sizes=(quantizer.codebook_size,) * (depth or quantizer.num_quantizers),
        min_samples=config.encoder_downsample_rate,
    )


def _recognises(_: CodecPlace) -> bool:
    # Its releases are a checkpoint with or without a YAML; loading checks every key.
    return True


def _releases() -> list[Release]:
    made = [Release("xy-nano", shape_of(released_config(642)), "Apache-2.0", "bundled, for trials")]
    for head_size, (name, _) in VARIANTS.items():
        shape = shape_of(released_config(head_size))
        made.append(Release(_REPOSITORIES[name], shape, "Apache-2.0", name))
    return made


FAMILY = Family(
    name="XY-Tokenizer",
    package="xy_codec.xy",
    recognises=_recognises,
    releases=_releases(),
    company="packed",
    precisions=("exact", "fast"),
    options=XYOptions,
    compiles=True,
)
