"""The sizes of the released checkpoint."""

from xy_codec.moss.config import CodecConfig, PatchConfig, QuantizerConfig, TransformerConfig

NAME = "moss-audio-tokenizer"
REPOSITORY = "OpenMOSS-Team/MOSS-Audio-Tokenizer"


def released_config() -> CodecConfig:
    """1 774 566 400 parameters; every window is 10 s."""
    return CodecConfig(
        sampling_rate=24000,
        downsample_rate=1920,
        encoder=(
            PatchConfig(240),
            _narrow(240, 384, 1000),
            PatchConfig(2),
            _narrow(768, 384, 500),
            PatchConfig(2),
            _narrow(768, 640, 250),
            PatchConfig(2),
            _wide(1280, 768),
        ),
        decoder=(
            _wide(768, 1280),
            PatchConfig(2),
            _narrow(640, 768, 250),
            PatchConfig(2),
            _narrow(384, 768, 500),
            PatchConfig(2),
            _narrow(384, 240, 1000),
            PatchConfig(240),
        ),
        quantizer=QuantizerConfig(
            input_dim=768,
            rvq_dim=512,
            output_dim=768,
            num_quantizers=32,
            codebook_size=1024,
            codebook_dim=8,
        ),
    )


def _narrow(width_in: int, width_out: int, window: int) -> TransformerConfig:
    return TransformerConfig(width_in, 768, width_out, 12, 12, 3072, 10000, window)


def _wide(width_in: int, width_out: int) -> TransformerConfig:
    return TransformerConfig(width_in, 1280, width_out, 32, 20, 5120, 10000, 125)
