"""A configuration that the codec would not compute as it says is refused, whichever block it is."""

import copy
from typing import Any

import pytest

from tests.support.golden_case import Group
from xy_codec.errors import ConfigError
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.released import VARIANTS, released_config

WRONG: list[tuple[str, str, Any, str]] = [
    *(
        (f"{block}_kwargs", "activation_function", "relu", "activation_function must be gelu")
        for block in (
            "semantic_encoder",
            "acoustic_encoder",
            "acoustic_decoder",
            "semantic_encoder_adapter",
            "pre_rvq_adapter",
            "post_rvq_adapter",
        )
    ),
    ("acoustic_encoder_kwargs", "kernel_size", 5, "kernel_size must be 3"),
    ("acoustic_encoder_kwargs", "stride_size", 1, "stride_size must be 2"),
    ("acoustic_encoder_kwargs", "num_mel_bins", 128, "num_mel_bins must equal feature_size"),
    ("acoustic_decoder_kwargs", "hop_length", 320, "sampling_rate / hop_length must be the same"),
    ("acoustic_decoder_kwargs", "max_audio_seconds", 10, "max_audio_seconds must be chunk_length"),
    ("semantic_encoder_kwargs", "max_audio_seconds", 10, "max_audio_seconds must be chunk_length"),
    ("pre_rvq_adapter_kwargs", "max_source_positions", 1499, "max_source_positions must reach"),
    ("post_rvq_adapter_kwargs", "max_source_positions", 374, "max_source_positions must reach"),
    ("", "output_sample_rate", 24000, "output_sample_rate must be hop_size times"),
    ("", "encoder_downsample_rate", 1300, "encoder_downsample_rate must be 8"),
    ("", "decoder_upsample_rate", 1300, "decoder_upsample_rate must be 8"),
]


def params() -> dict[str, Any]:
    return copy.deepcopy(Group("small_xy").info["params"])


@pytest.mark.parametrize(("block", "key", "value", "message"), WRONG)
def test_what_would_change_codes_silently_is_refused(
    block: str, key: str, value: Any, message: str
) -> None:
    changed = params()
    # The file may give one rate for both sides.
    changed |= {"input_sample_rate": 16000, "output_sample_rate": 16000}
    changed.pop("sample_rate", None)
    (changed[block] if block else changed)[key] = value
    with pytest.raises(ConfigError, match=message):
        CodecConfig.from_mapping(changed)


def test_all_faults_are_told_at_once() -> None:
    changed = params()
    changed["acoustic_decoder_kwargs"]["activation_function"] = "relu"
    changed["vocos_kwargs"]["padding"] = "center"
    with pytest.raises(ConfigError, match=r"gelu.*padding must be"):
        CodecConfig.from_mapping(changed)


def test_the_released_configurations_are_taken() -> None:
    rates = [released_config(head).output_sample_rate for head in VARIANTS]
    assert rates == [16000, 24000, 32000]
