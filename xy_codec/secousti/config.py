"""The sizes of a SecoustiCodec; the releases come without a file of them, so weights tell them.

Everything that no shape shows is a constant here.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from xy_codec.errors import ConfigError

SAMPLE_RATE_HZ = 22_050
HOP_SAMPLES = 256  # of the log-mel, and of the vocoder for each frame
WINDOW_SAMPLES = 1024  # of the log-mel
# Samples mirrored at both ends of a clip, and the shortest clip that has them.
MARGIN_SAMPLES = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
MIN_SAMPLES = MARGIN_SAMPLES + 1
HEAD_WIDTH = 64
ATTENTION_WINDOW = 250  # steps that a step attends to, itself included
LEVELS = 3  # values of a digit of a token
SPECTRUM_SIZE = 16  # samples of a Fourier transform inside the vocoder
SPECTRUM_HOP = 4
NUM_HARMONICS = 9


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """All sizes that differ between the two releases, or could in a checkpoint like them.

    Attributes:
        num_mels: Bands of the log-mel.
        seanet_width: Channels of SEANet at the rate of the log-mel.
        strides: How many steps each of SEANet's two levels joins: (2, 2) is the release at
            21.53 Hz, (1, 1) the one at 86.13 Hz.
        width: Channels of the four transformers.
        num_layers: Layers of each transformer.
        hidden_width: Channels inside a layer's two linear maps.
        num_digits: Digits of a token.
        paralinguistic_widths: Channels of the paralinguistic branch's convolutions.
        squeezed_width: The narrow width of its squeeze and excite.
        state_width: Its recurrent state, which is a clip's side values.
        vocoder_width: Channels of the vocoder before its first level.
        pitch_width: Channels of the vocoder's pitch predictor.
        vocoder_strides: Steps that the vocoder's two levels make of one.
    """

    num_mels: int
    seanet_width: int
    strides: tuple[int, int]
    width: int
    num_layers: int
    hidden_width: int
    num_digits: int
    paralinguistic_widths: tuple[int, ...]
    squeezed_width: int
    state_width: int
    vocoder_width: int
    pitch_width: int
    vocoder_strides: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse sizes that no SecoustiCodec has."""
        rules = {
            "all sizes must be 1 or more": all(_numbers(self)),
            "strides must be 2, 2 or 1, 1": self.strides in ((1, 1), (2, 2)),
            f"width must be a multiple of {HEAD_WIDTH}": self.width % HEAD_WIDTH == 0,
            "seanet_width must be even": self.seanet_width % 2 == 0,
            "vocoder_width must be a multiple of 4": self.vocoder_width % 4 == 0,
            "a token must be below 32768": LEVELS**self.num_digits <= 2**15,
            # Less than 8 would need more of `CONTEXT_FRAMES` and `EDGE_FRAMES`.
            "vocoder_strides must be 8 or more, then 2 or more":
                self.vocoder_strides[0] >= 8 and self.vocoder_strides[1] >= 2,
            f"vocoder_strides times {SPECTRUM_HOP} must be {HOP_SAMPLES} samples":
                self.vocoder_strides[0] * self.vocoder_strides[1] * SPECTRUM_HOP == HOP_SAMPLES,
        }  # fmt: skip
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ConfigError(
                f"A SecoustiCodec with {asdict(self)} cannot be run: {'; '.join(broken)}. "
                "Pass the codec's checkpoint, not another model's."
            )

    @property
    def num_heads(self) -> int:
        """Heads of each transformer."""
        return self.width // HEAD_WIDTH

    @property
    def token_frames(self) -> int:
        """Frames of log-mel in one token."""
        return self.strides[0] * self.strides[1]

    @property
    def samples_per_token(self) -> int:
        """Samples in one token."""
        return HOP_SAMPLES * self.token_frames

    @property
    def codebook_size(self) -> int:
        """How many tokens there are."""
        return int(LEVELS**self.num_digits)


def _numbers(config: CodecConfig) -> list[int]:
    values: list[Any] = [getattr(config, field.name) for field in fields(config)]
    return [n for value in values for n in (value if isinstance(value, tuple) else (value,))]
