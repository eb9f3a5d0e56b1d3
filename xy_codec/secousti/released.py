"""The two releases: where they are, what their files are called, and their sizes."""

from xy_codec.secousti.config import CodecConfig

REPOSITORY = "qiangchunyu/SecoustiCodec"
LICENCE = "Apache-2.0 (README only)"
# SEANet's strides, which tell the releases apart -> (name, codec file).
RELEASES = {
    2: ("secousticodec-21.5hz", "secousticodec_21_5_hz.pt"),
    1: ("secousticodec-86hz", "secousticodec_86_hz.pt"),
}


def released_config(stride: int) -> CodecConfig:
    """The sizes of the release at 21.53 Hz (stride 2) or 86.13 Hz (stride 1)."""
    return CodecConfig(
        num_mels=80,
        seanet_width=64,
        strides=(stride, stride),
        width=512,
        num_layers=8,
        hidden_width=2048,
        num_digits=8,
        paralinguistic_widths=(32, 32, 64, 64, 128, 128),
        squeezed_width=8,
        state_width=64,
        vocoder_width=512,
        pitch_width=512,
        vocoder_strides=(8, 8),
    )
