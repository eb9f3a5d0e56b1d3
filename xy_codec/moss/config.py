"""The release's config.json as frozen dataclasses; what the modules do not do is refused.

Names of fields are those of the file. Nothing has a default that the file's own author did not
write down: the defaults of the release's code describe another model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from xy_codec.errors import ConfigError

_PATCH = "PatchedPretransform"
_TRANSFORMER = "Transformer"
# The arithmetic that the modules have; the release's code has other kinds that no release uses.
_FIXED = {
    "causal": True,
    "norm": "layer_norm",
    "positional_embedding": "rope",
    "gating": "none",
}
_SIZES = (
    "input_dimension", "d_model", "output_dimension", "num_layers", "num_heads", "dim_feedforward",
)  # fmt: skip
# Fields of a Transformer that change no code: a start of training, and a layout of tensors.
_UNUSED_OF_TRANSFORMER = {"layer_scale", "conv_layout"}
_QUANTIZERS = ("rlfq", "random_prefix_rlfq")
# Stored beside the model's own fields and read by no part of it.
_UNUSED = {
    "_name_or_path", "architectures", "auto_map", "code_dim", "dtype", "model_type",
    "reversed_decoder_kwargs", "torch_dtype", "transformers_version", "version",
}  # fmt: skip
_KNOWN = {
    "sampling_rate", "sample_rate", "downsample_rate", "causal_transformer_context_duration",
    "encoder_kwargs", "decoder_kwargs", "quantizer_kwargs", "quantizer_type",
}  # fmt: skip
_STEREO = {"number_channels", "enable_channel_interleave"}
_RELEASE = "Use the config.json that was published with MOSS-Audio-Tokenizer."


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """`PatchedPretransform`: steps side by side in the encoder, apart again in the decoder."""

    patch_size: int


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """`Transformer`; `window` is in steps of its own rate and follows from the whole file."""

    input_dimension: int
    d_model: int
    output_dimension: int
    num_layers: int
    num_heads: int
    dim_feedforward: int
    max_period: float
    window: int


@dataclass(frozen=True, slots=True)
class QuantizerConfig:
    """`quantizer_kwargs`."""

    input_dim: int
    rvq_dim: int
    output_dim: int
    num_quantizers: int
    codebook_size: int
    codebook_dim: int


Stage = PatchConfig | TransformerConfig


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """A whole codec; stages stand in the order in which they run."""

    sampling_rate: int
    downsample_rate: int
    encoder: tuple[Stage, ...]
    decoder: tuple[Stage, ...]
    quantizer: QuantizerConfig

    @classmethod
    def from_mapping(cls, file: Mapping[str, Any]) -> Self:
        """Read the content of config.json and refuse what the codec cannot run."""
        _refuse_stereo(file)
        _refuse_unknown(file, _KNOWN | _UNUSED, "Configuration")
        rate = _sampling_rate(file)
        context = _number(file, "causal_transformer_context_duration", "Configuration")
        quantizer = _quantizer(file)
        encoder, rate_of_codes = _stages(file, "encoder_kwargs", float(rate), context, up=False)
        decoder, _ = _stages(file, "decoder_kwargs", rate_of_codes, context, up=True)
        hop = _count(file, "downsample_rate", "Configuration")
        config = cls(rate, hop, encoder, decoder, quantizer)
        _check_consistency(config)
        return config


def is_moss(file: Mapping[str, Any]) -> bool:
    """Whether a config.json is of MOSS-Audio-Tokenizer, of any version.

    Told by its stages: the `model_type` of the release is another model's.
    """
    stages = file.get("encoder_kwargs")
    return isinstance(stages, list) and any(
        isinstance(stage, Mapping) and "module_type" in stage for stage in stages
    )


def _refuse_stereo(file: Mapping[str, Any]) -> None:
    stages = [*_listed(file, "encoder_kwargs"), *_listed(file, "decoder_kwargs")]
    names = sorted(_STEREO & set(file))
    names += ["context_duration"] if any("context_duration" in stage for stage in stages) else []
    if names:
        quantizer = file.get("quantizer_kwargs")
        books = quantizer.get("num_quantizers") if isinstance(quantizer, Mapping) else None
        raise ConfigError(
            f"Configuration has {', '.join(f'`{name}`' for name in names)}, which only "
            f"MOSS-Audio-Tokenizer-{'Nano' if books == 16 else 'v2'} has, a codec of two channels "
            "at 48 kHz; expected version 1. Use `OpenMOSS-Team/MOSS-Audio-Tokenizer`."
        )


def _refuse_unknown(block: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    unknown = sorted(set(block) - set(known))
    if unknown:
        raise ConfigError(
            f"{what} has unknown fields {unknown}; expected none but {sorted(known)}. Remove them "
            "if they change nothing, or use a newer xytok."
        )


def _sampling_rate(file: Mapping[str, Any]) -> int:
    names = [name for name in ("sampling_rate", "sample_rate") if name in file]
    rates = {_count(file, name, "Configuration") for name in names or ["sampling_rate"]}
    if len(rates) > 1:
        raise ConfigError(
            f"Configuration has `sampling_rate` {file['sampling_rate']} and `sample_rate` "
            f"{file['sample_rate']}; expected the same. {_RELEASE}"
        )
    return rates.pop()


def _quantizer(file: Mapping[str, Any]) -> QuantizerConfig:
    block = file.get("quantizer_kwargs")
    if not isinstance(block, Mapping):
        raise ConfigError(
            f"Configuration has `quantizer_kwargs` = {block!r}; expected a mapping. {_RELEASE}"
        )
    name = "`quantizer_kwargs`"
    kind = block.get("quantizer_type", file.get("quantizer_type"))
    if kind not in _QUANTIZERS:
        raise ConfigError(
            f"Configuration has `quantizer_type` = {kind!r}; expected {' or '.join(_QUANTIZERS)}, "
            f"which search by angle. {_RELEASE}"
        )
    counts = ("input_dim", "num_quantizers", "codebook_size", "codebook_dim")
    _refuse_unknown(block, {*counts, "rvq_dim", "output_dim", "quantizer_type"}, name)
    values = {key: _count(block, key, name) for key in counts}
    # These two may be left out or null, which means the input's width.
    for key in ("rvq_dim", "output_dim"):
        is_given = block.get(key) is not None
        values[key] = _count(block, key, name) if is_given else values["input_dim"]
    return QuantizerConfig(**values)


def _listed(file: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    stages = file.get(name)
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        raise ConfigError(
            f"Configuration has `{name}` = {stages!r}; expected a list of modules. {_RELEASE}"
        )
    return stages


def _stages(
    file: Mapping[str, Any], name: str, rate: float, context: float, *, up: bool
) -> tuple[tuple[Stage, ...], float]:
    """The modules of one half, and the rate of the steps behind the last of them."""
    made: list[Stage] = []
    for number, block in enumerate(_listed(file, name)):
        what = f"`{name}[{number}]`"
        kind = block.get("module_type")
        if kind == _PATCH:
            _refuse_unknown(block, {"module_type", "patch_size"}, what)
            size = _count(block, "patch_size", what)
            rate = rate * size if up else rate / size
            made.append(PatchConfig(size))
        elif kind == _TRANSFORMER:
            made.append(_transformer(block, what, int(rate * context)))
        else:
            raise ConfigError(
                f"{what} has `module_type` = {kind!r}; expected {_PATCH} or {_TRANSFORMER}. "
                f"{_RELEASE}"
            )
    return tuple(made), rate


def _transformer(block: Mapping[str, Any], what: str, window: int) -> TransformerConfig:
    known = {"module_type", *_SIZES, "max_period", *_FIXED, *_UNUSED_OF_TRANSFORMER}
    _refuse_unknown(block, known, what)
    for name, wanted in _FIXED.items():
        if block.get(name) != wanted or type(block.get(name)) is not type(wanted):
            raise ConfigError(
                f"{what} has `{name}` = {block.get(name)!r}; expected {wanted!r}, which is all "
                f"that xytok has. {_RELEASE}"
            )
    _number(block, "layer_scale", what)
    sizes = {name: _count(block, name, what) for name in _SIZES}
    return TransformerConfig(**sizes, max_period=_number(block, "max_period", what), window=window)


def _count(block: Mapping[str, Any], name: str, what: str) -> int:
    value = block.get(name)
    if type(value) is not int or value <= 0:
        raise ConfigError(
            f"{what} has `{name}` = {value!r}; expected a positive whole number. {_RELEASE}"
        )
    return value


def _number(block: Mapping[str, Any], name: str, what: str) -> float:
    value = block.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigError(
            f"{what} has `{name}` = {value!r}; expected a positive number. {_RELEASE}"
        )
    return value


def _check_consistency(config: CodecConfig) -> None:
    quantizer = config.quantizer
    last = _follow(config.encoder, 1, up=False, what="encoder_kwargs")
    end = _follow(config.decoder, quantizer.output_dim, up=True, what="decoder_kwargs")
    rules = {
        f"the encoder gives {last} channels and the quantizer takes {quantizer.input_dim}": last
        == quantizer.input_dim,
        f"the decoder ends with {end} channels and not with one": end == 1,
        "the patch sizes of the encoder and of the decoder must multiply to `downsample_rate` "
        f"{config.downsample_rate}": _product(config.encoder)
        == _product(config.decoder)
        == config.downsample_rate,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise ConfigError(f"Configuration cannot be run: {'; '.join(broken)}. {_RELEASE}")


def _product(stages: Iterable[Stage]) -> int:
    return math.prod(stage.patch_size for stage in stages if isinstance(stage, PatchConfig))


def _follow(stages: Iterable[Stage], width: int, *, up: bool, what: str) -> int:
    """The width behind the last stage, where each takes what the one before it gives."""
    for number, stage in enumerate(stages):
        where = f"Configuration cannot be run: `{what}[{number}]`"
        if isinstance(stage, PatchConfig):
            if up and width % stage.patch_size:
                raise ConfigError(
                    f"{where} cannot cut {width} channels into {stage.patch_size} steps. {_RELEASE}"
                )
            width = width // stage.patch_size if up else width * stage.patch_size
            continue
        if stage.input_dimension != width:
            raise ConfigError(
                f"{where} takes {stage.input_dimension} channels and gets {width}. {_RELEASE}"
            )
        if stage.d_model % (2 * stage.num_heads):
            raise ConfigError(
                f"{where} has {stage.num_heads} heads for {stage.d_model} channels; expected heads "
                f"of one even width. {_RELEASE}"
            )
        if stage.window < 1:
            raise ConfigError(
                f"{where} sees {stage.window} steps; expected one or more. Raise "
                "`causal_transformer_context_duration`."
            )
        width = stage.output_dimension
    return width
