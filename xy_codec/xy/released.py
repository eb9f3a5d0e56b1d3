"""The sizes of the three released checkpoints, for when no YAML comes with the weights."""

from typing import Any

from xy_codec.xy.config import CodecConfig

# Length of the vocoder head's bias -> (name, output rate); how a checkpoint tells its variant.
VARIANTS = {
    642: ("xy-tokenizer-16k", 16000),
    962: ("xy-tokenizer-ttsd-24k", 24000),
    1282: ("xy-tokenizer-ttsd-32k", 32000),
}


def released_config(head_size: int) -> CodecConfig:
    """The configuration of the released variant whose vocoder head has a bias of this length."""
    n_fft, hop = head_size - 2, (head_size - 2) // 4
    encoder = _transformer(12) | {"num_mel_bins": 80}
    adapter = _transformer(4) | {"max_source_positions": 1500}
    params: dict[str, Any] = {
        "input_sample_rate": 16000,
        "output_sample_rate": hop * 100,
        "encoder_downsample_rate": 1280,
        "decoder_upsample_rate": hop * 8,
        "semantic_encoder_kwargs": encoder,
        "semantic_encoder_adapter_kwargs": adapter | {"input_dim": 768, "output_dim": 768},
        "acoustic_encoder_kwargs": encoder,
        "pre_rvq_adapter_kwargs": adapter | {"input_dim": 1536, "output_dim": 768},
        "downsample_kwargs": {"d_model": 768},
        "quantizer_kwargs": {
            "input_dim": 3072,
            "rvq_dim": 512,
            "output_dim": 3072,
            "num_quantizers": 8,
            "codebook_size": 1024,
            "codebook_dim": 512,
        },
        "post_rvq_adapter_kwargs": adapter
        | {"input_dim": 3072, "output_dim": 3072, "max_source_positions": 375},
        "upsample_kwargs": {"d_model": 768},
        "acoustic_decoder_kwargs": {
            "num_mel_bins": 80,
            "d_model": 768,
            "decoder_layers": 12,
            "decoder_attention_heads": 12,
            "decoder_ffn_dim": 3072,
        },
        "vocos_kwargs": {
            "input_channels": 80,
            "dim": 512,
            "intermediate_dim": 4096,
            "num_layers": 30,
            "n_fft": n_fft,
            "hop_size": hop,
        },
    }
    return CodecConfig.from_mapping(params)


def _transformer(num_layers: int) -> dict[str, Any]:
    return {
        "d_model": 768,
        "encoder_layers": num_layers,
        "encoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
    }
