"""A config.json is read field by field; what the modules do not do is refused and named."""

import copy
from typing import Any

import pytest

from tests.support.moss_case import Group
from xy_codec.errors import ConfigError
from xy_codec.moss.config import CodecConfig, TransformerConfig, is_moss

FILE: dict[str, Any] = Group("small4w").info["config"]


def changed(path: str, value: object) -> dict[str, Any]:
    """The file with one field at a dotted path set, or taken out where the value is `...`."""
    file = copy.deepcopy(FILE)
    *way, last = path.split(".")
    block: Any = file
    for step in way:
        block = block[int(step) if isinstance(block, list) else step]
    if value is ...:
        del block[last]
    else:
        block[last] = value
    return file


def test_windows_are_cut_to_whole_steps_of_each_rate() -> None:
    config = CodecConfig.from_mapping(FILE)
    windows = {
        f"{half}.{number}": stage.window
        for half, stages in (("encoder", config.encoder), ("decoder", config.decoder))
        for number, stage in enumerate(stages)
        if isinstance(stage, TransformerConfig)
    }
    assert windows == Group("small4w").info["context_tokens"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("number_channels", 2, "MOSS-Audio-Tokenizer-v2 has, a codec of two channels at 48 kHz"),
        ("enable_channel_interleave", True, "`enable_channel_interleave`, which only MOSS"),
        ("encoder_kwargs.1.context_duration", 1, "`context_duration`, which only MOSS"),
        ("encoder_kwargs.1.norm", "rms_norm", r"encoder_kwargs\[1\]` has `norm` = 'rms_norm'"),
        ("encoder_kwargs.3.gating", "silu", "`gating` = 'silu'; expected 'none'"),
        ("decoder_kwargs.0.positional_embedding", "sin", "'sin'; expected 'rope'"),
        ("decoder_kwargs.0.causal", False, "`causal` = False; expected True"),
        ("decoder_kwargs.0.causal", 1, "`causal` = 1; expected True"),
        ("decoder_kwargs.2.layer_scale", None, "`layer_scale` = None; expected a positive"),
        ("encoder_kwargs.1.weights_per_step", 1, r"unknown fields \['weights_per_step'\]"),
        ("encoder_kwargs.0.patch_size", 0, "`patch_size` = 0; expected a positive whole"),
        ("encoder_kwargs.1.module_type", "Mamba", "'Mamba'; expected PatchedPretransform or"),
        ("encoder_kwargs.1.max_period", "10000", "'10000'; expected a positive number"),
        ("encoder_kwargs.1.num_heads", 5, "5 heads for 64 channels"),
        ("encoder_kwargs.3.input_dimension", 32, "takes 32 channels and gets 64"),
        ("decoder_kwargs.7.patch_size", 239, "cannot cut 240 channels into 239 steps"),
        ("decoder_kwargs.7.patch_size", 120, "ends with 2 channels and not with one"),
        ("downsample_rate", 3840, "multiply to `downsample_rate` 3840"),
        ("causal_transformer_context_duration", 0.01, "sees 0 steps"),
        ("causal_transformer_context_duration", ..., "= None; expected a positive number"),
        ("sample_rate", 16000, "`sampling_rate` 24000 and `sample_rate` 16000"),
        ("decoder_kwargs", ..., "`decoder_kwargs` = None; expected a list"),
        ("quantizer_kwargs.quantizer_type", "rvq", "'rvq'; expected rlfq"),
        ("quantizer_kwargs.input_dim", 48, "gives 64 channels and the quantizer takes 48"),
        ("quantizer_kwargs.codebook_dim", 8.0, "= 8.0; expected a positive whole"),
        ("quantizer_kwargs.dropout", 0.1, r"unknown fields \['dropout'\]"),
        ("quantizer_kwargs", [], "`quantizer_kwargs` = \\[\\]; expected a mapping"),
        ("sliding", 1, r"Configuration has unknown fields \['sliding'\]"),
    ],
)
def test_what_the_modules_do_not_do_is_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CodecConfig.from_mapping(changed(path, value))


def test_nano_is_told_from_version_2() -> None:
    file = changed("quantizer_kwargs.num_quantizers", 16) | {"number_channels": 2}
    with pytest.raises(ConfigError, match="Tokenizer-Nano has"):
        CodecConfig.from_mapping(file)


def test_fields_that_the_model_does_not_read_change_nothing() -> None:
    config = CodecConfig.from_mapping(FILE)
    for path, value in (
        ("model_type", "moss-audio-tokenizer"),
        ("reversed_decoder_kwargs", []),
        ("sample_rate", ...),
        ("encoder_kwargs.1.conv_layout", ...),
        ("encoder_kwargs.1.layer_scale", 1.0),
        ("quantizer_type", "rvq"),  # the one in `quantizer_kwargs` wins
    ):
        assert CodecConfig.from_mapping(changed(path, value)) == config
    same_width = changed("quantizer_kwargs.output_dim", None)
    assert CodecConfig.from_mapping(same_width).quantizer.output_dim == 64


def test_the_file_is_known_by_its_stages_and_not_by_its_model_type() -> None:
    assert is_moss(changed("model_type", ...))
    assert not is_moss({"model_type": "speech_tokenizer"})
    assert not is_moss({"encoder_kwargs": {"d_model": 4}})
    assert not is_moss({"encoder_kwargs": [{"d_model": 4}]})
