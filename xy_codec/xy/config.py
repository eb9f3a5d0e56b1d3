"""The reference's YAML configuration as frozen dataclasses; unknown or unsupported values refused.

Field names are those of the file. Values that the reference stores and never uses are accepted
and dropped.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self, TypeVar

from xy_codec.errors import ConfigError

FRAME_TOKENS = 4  # 50 Hz tokens in one 12.5 Hz frame
_UNUSED = {
    "feature_extractor_kwargs": {"n_samples", "nb_max_frames", "padding_side", "padding_value",
                                 "return_attention_mask", "dither"},
    "encoder": {"scale_embedding"},
    "quantizer_kwargs": {"kmeans_init", "kmeans_iters", "skip_rvq_ratio", "quantizer_dropout",
                         "decay", "epsilon", "threshold_ema_dead", "commitment"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MelConfig:
    """`feature_extractor_kwargs`: Whisper's log-mel front end."""

    chunk_length: int = 30
    feature_size: int = 80
    hop_length: int = 160
    n_fft: int = 400
    sampling_rate: int = 16000


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """`semantic_encoder_kwargs` and `acoustic_encoder_kwargs`."""

    num_mel_bins: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    sampling_rate: int = 16000
    hop_length: int = 160
    stride_size: int = 2
    kernel_size: int = 3
    max_audio_seconds: int = 30
    activation_function: str = "gelu"

    @property
    def num_positions(self) -> int:
        """Length of the positional table."""
        return self.max_audio_seconds * self.sampling_rate // self.hop_length // self.stride_size


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """`semantic_encoder_adapter_kwargs`, `pre_rvq_adapter_kwargs`, `post_rvq_adapter_kwargs`."""

    input_dim: int
    output_dim: int
    d_model: int
    max_source_positions: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    activation_function: str = "gelu"


@dataclass(frozen=True, slots=True)
class DownsampleConfig:
    """`downsample_kwargs`: 50 Hz to 12.5 Hz."""

    d_model: int
    avg_pooler: int = FRAME_TOKENS


@dataclass(frozen=True, slots=True)
class QuantizerConfig:
    """`quantizer_kwargs`: the sizes; what only training needs is not kept."""

    input_dim: int
    rvq_dim: int
    output_dim: int
    num_quantizers: int
    codebook_size: int
    codebook_dim: int


@dataclass(frozen=True, slots=True)
class UpsampleConfig:
    """`upsample_kwargs`: 12.5 Hz to 50 Hz."""

    d_model: int
    stride: int = FRAME_TOKENS


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """`acoustic_decoder_kwargs`."""

    num_mel_bins: int
    d_model: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    sampling_rate: int = 16000
    hop_length: int = 160
    stride_size: int = 2
    kernel_size: int = 3
    max_audio_seconds: int = 30
    activation_function: str = "gelu"

    @property
    def num_positions(self) -> int:
        """Length of the positional table."""
        return self.max_audio_seconds * self.sampling_rate // self.hop_length // self.stride_size


@dataclass(frozen=True, slots=True)
class VocoderConfig:
    """`vocos_kwargs`."""

    input_channels: int
    dim: int
    intermediate_dim: int
    num_layers: int
    n_fft: int
    hop_size: int
    padding: str = "same"


@dataclass(frozen=True, slots=True)
class UpsamplingConfig:
    """`hifigan_kwargs` or `seanet_kwargs`, in place of `vocos_kwargs`."""

    kind: str
    input_channels: int
    dim: int  # of the first level; each of the next is half as wide
    hop_size: int


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """A whole codec: `generator_params` of the file, with the sample rates made explicit."""

    input_sample_rate: int
    output_sample_rate: int
    encoder_downsample_rate: int
    decoder_upsample_rate: int
    feature_extractor_kwargs: MelConfig
    semantic_encoder_kwargs: EncoderConfig
    semantic_encoder_adapter_kwargs: AdapterConfig
    acoustic_encoder_kwargs: EncoderConfig
    pre_rvq_adapter_kwargs: AdapterConfig
    downsample_kwargs: DownsampleConfig
    quantizer_kwargs: QuantizerConfig
    post_rvq_adapter_kwargs: AdapterConfig
    upsample_kwargs: UpsampleConfig
    acoustic_decoder_kwargs: DecoderConfig
    vocos_kwargs: VocoderConfig | UpsamplingConfig

    @classmethod
    def from_mapping(cls, params: Mapping[str, Any]) -> Self:
        """Read `generator_params` (or the whole file) and refuse what the codec cannot run."""
        params = _generator_params(params)
        rates = _sample_rates(params)
        mel = params.pop("feature_extractor_kwargs", None) or {}
        vocoder = _take_vocoder(params)
        blocks = {name: params.pop(name, None) for name in _BLOCKS}
        if params:
            raise ConfigError(
                f"Configuration has unknown keys {sorted(params)}. Expected the sample rates and "
                f"{', '.join(_BLOCKS)} and `vocos_kwargs`. Remove them, or use a newer xytok."
            )
        parsed: dict[str, Any] = {
            "feature_extractor_kwargs": _parse(MelConfig, mel, "feature_extractor_kwargs")
        }
        for name, kind in _BLOCKS.items():
            parsed[name] = _parse(kind, blocks[name], name)
        config = cls(**rates, **parsed, vocos_kwargs=vocoder)
        _check_consistency(config)
        return config


_ENCODERS = ("semantic", "acoustic")
# The adapters, and how much slower than the 50 Hz tokens each runs.
_ADAPTERS = {"semantic_encoder_adapter": 1, "pre_rvq_adapter": 1, "post_rvq_adapter": FRAME_TOKENS}
_BLOCKS: dict[str, Any] = {
    "semantic_encoder_kwargs": EncoderConfig,
    "semantic_encoder_adapter_kwargs": AdapterConfig,
    "acoustic_encoder_kwargs": EncoderConfig,
    "pre_rvq_adapter_kwargs": AdapterConfig,
    "downsample_kwargs": DownsampleConfig,
    "quantizer_kwargs": QuantizerConfig,
    "post_rvq_adapter_kwargs": AdapterConfig,
    "upsample_kwargs": UpsampleConfig,
    "acoustic_decoder_kwargs": DecoderConfig,
}
_UPSAMPLING = ("hifigan", "seanet")

Block = TypeVar("Block")


def _generator_params(file: Mapping[str, Any]) -> dict[str, Any]:
    params = file.get("generator_params", file)
    if not isinstance(params, Mapping):
        raise ConfigError(
            f"`generator_params` is {params!r}; expected a mapping. "
            "Use the YAML that was published with the checkpoint."
        )
    return dict(params)


def _sample_rates(params: dict[str, Any]) -> dict[str, Any]:
    """The four rates, whatever the file calls them: release, TTSD fork, or transformers port."""
    one = params.pop("sample_rate", None)
    port_output = params.pop("sampling_rate", one)
    source = params.pop("input_sample_rate", params.pop("input_sampling_rate", one))
    target = params.pop("output_sample_rate", port_output)
    down = params.pop("encoder_downsample_rate", 1280)
    up = params.pop("decoder_upsample_rate", 1280)
    rates = {
        "input_sample_rate": source,
        "output_sample_rate": target,
        "encoder_downsample_rate": down,
        "decoder_upsample_rate": up,
    }
    for name, value in rates.items():
        if not isinstance(value, int) or value <= 0:
            raise ConfigError(
                f"Configuration has `{name}` = {value!r}; expected a positive whole number. "
                "Give `sample_rate`, or `input_sample_rate` and `output_sample_rate`."
            )
    return rates


def _take_vocoder(params: dict[str, Any]) -> VocoderConfig | UpsamplingConfig:
    """Vocos, or what an ablation has in its place; not both."""
    for kind in _UPSAMPLING:
        block = params.get(f"{kind}_kwargs")
        if isinstance(block, Mapping) and "vocos_kwargs" not in params:
            del params[f"{kind}_kwargs"]
            return _parse(UpsamplingConfig, {**block, "kind": kind}, f"{kind}_kwargs")
    return _parse(VocoderConfig, params.pop("vocos_kwargs", None), "vocos_kwargs")


def _parse(kind: type[Block], block: object, name: str) -> Block:
    if not isinstance(block, Mapping):
        raise ConfigError(
            f"Configuration has `{name}` = {block!r}; expected a mapping. "
            "Use the YAML that was published with the checkpoint."
        )
    unused = _UNUSED.get(name, set()) | (_UNUSED["encoder"] if "coder_kwargs" in name else set())
    given = {key: value for key, value in block.items() if key not in unused}
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    missing = sorted(
        key for key, field in known.items() if key not in given and field.default is MISSING
    )
    if unknown or missing:
        raise ConfigError(
            f"`{name}` has unknown keys {unknown} and lacks {missing}; expected {sorted(known)}. "
            "Use the YAML that was published with the checkpoint."
        )
    for key, value in given.items():
        _check_value(name, key, value, str(known[key].type))
    return kind(**given)


def _check_value(block: str, key: str, value: object, kind: str) -> None:
    good = isinstance(value, str) if "str" in kind else type(value) is int and value > 0
    if not good:
        wanted = "text" if "str" in kind else "a positive whole number"
        raise ConfigError(f"`{block}.{key}` is {value!r}; expected {wanted}. Correct the YAML.")


def _check_consistency(config: CodecConfig) -> None:
    """Every block against the others and against what the model computes; all faults at once.

    What does not show in the shapes of the weights would change codes without an error.
    """
    mel, vocoder = config.feature_extractor_kwargs, config.vocos_kwargs
    quantizer, decoder = config.quantizer_kwargs, config.acoustic_decoder_kwargs
    encoders = {name: getattr(config, f"{name}_encoder_kwargs") for name in _ENCODERS}
    convolutional = {**encoders, "acoustic_decoder": decoder}
    activated = convolutional | {name: getattr(config, f"{name}_kwargs") for name in _ADAPTERS}
    tokens_hz = config.input_sample_rate / mel.hop_length / 2
    windows = {name: block.num_positions for name, block in convolutional.items()}
    rules = {
        "activation_function must be gelu in every block": all(
            block.activation_function == "gelu" for block in activated.values()
        ),
        "kernel_size must be 3": all(block.kernel_size == 3 for block in convolutional.values()),
        "stride_size must be 2": all(block.stride_size == 2 for block in convolutional.values()),
        "codebook_dim must equal rvq_dim": quantizer.codebook_dim == quantizer.rvq_dim,
        "avg_pooler and stride must be 4": config.downsample_kwargs.avg_pooler
        == config.upsample_kwargs.stride == FRAME_TOKENS,
        "encoder_downsample_rate must be 8 * hop_length": config.encoder_downsample_rate
        == 2 * FRAME_TOKENS * mel.hop_length,
        "padding must be `same`": isinstance(vocoder, UpsamplingConfig)
        or vocoder.padding == "same",
        "num_mel_bins must equal feature_size": all(
            block.num_mel_bins == mel.feature_size for block in encoders.values()
        ),
        "sampling_rate / hop_length must be the same in every block": all(
            block.sampling_rate * mel.hop_length == mel.sampling_rate * block.hop_length
            for block in convolutional.values()
        ),
        "sampling_rate must equal the input sample rate": mel.sampling_rate
        == config.input_sample_rate,
        "decoder_upsample_rate must be 8 * hop_size": config.decoder_upsample_rate
        == 2 * FRAME_TOKENS * vocoder.hop_size,
        "output_sample_rate must be hop_size times the rate of the mel frames":
        config.output_sample_rate * mel.hop_length == vocoder.hop_size * config.input_sample_rate,
        "max_audio_seconds must be chunk_length or more": all(
            positions >= mel.chunk_length * tokens_hz for positions in windows.values()
        ),
        "max_source_positions must reach over chunk_length": all(
            getattr(config, f"{name}_kwargs").max_source_positions
            >= mel.chunk_length * tokens_hz / slower
            for name, slower in _ADAPTERS.items()
        ),
        "d_model of both encoders must be equal": encoders["semantic"].d_model
        == encoders["acoustic"].d_model,
    }  # fmt: skip
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise ConfigError(
            f"Configuration cannot be run: {'; '.join(broken)}. "
            "Use the YAML that was published with the checkpoint."
        )
