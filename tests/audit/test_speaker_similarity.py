import numpy as np
import pytest
import torch

from pipeline.audit.metrics import wavlm_verifier
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.metrics.speaker_similarity import (
    DEFAULT_MODEL,
    device_speaker_model,
    load_speaker_model,
    similarities,
)
from pipeline.audit.metrics.wavlm_verifier import EcapaHead, load_verifier, to_transformers
from pipeline.errors import UsageError
from tests.support.speech_pairs import speech_pairs

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": False,
}


@pytest.fixture(scope="module")
def campplus():
    return load_speaker_model("campplus")


def test_sim_of_identical_audio_is_one(campplus):
    same = [(original, original) for original, _ in speech_pairs()]
    assert similarities(campplus, same) == pytest.approx([1.0] * len(same), abs=1e-6)


def test_sim_of_another_speaker_is_below_that_of_the_same(campplus):
    (first, damaged), _, (other, _) = speech_pairs()[:3]
    same, different = similarities(campplus, [(first, damaged), (first, other)])
    assert isinstance(same, float)
    assert isinstance(different, float)
    assert same > 0.7 > different


@pytest.mark.parametrize(
    ("length", "scale", "reason"),
    [
        (3000, 1, Reason.TOO_SHORT),
        (0, 1, Reason.TOO_SHORT),
        (9000, 0, Reason.SILENT),
        (9000, np.nan, Reason.NON_FINITE),
    ],
)
def test_sim_of_no_voice_has_a_reason(campplus, length, scale, reason):
    voice, nothing = speech_pairs()[0][0], speech_pairs()[0][0][:length] * np.float32(scale)
    pairs = [(voice, voice), (nothing, nothing), (voice, voice)]
    assert similarities(campplus, pairs) == [pytest.approx(1.0), reason, pytest.approx(1.0)]


@pytest.mark.parametrize("name", ["ecapa", "wavlm:", "verifier:"])
def test_unknown_speaker_model_is_a_usage_error(name):
    with pytest.raises(UsageError, match="--sim-model"):
        load_speaker_model(name)


def fairseq_name(name: str) -> str:
    """The published checkpoint's name of a tensor of `transformers`' WavLM."""
    for old, new in (
        ("feature_projection.projection.", "post_extract_proj."),
        ("feature_projection.layer_norm.", "layer_norm."),
        ("masked_spec_embed", "mask_emb"),
        ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
        ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
        ("pos_conv_embed.conv.", "pos_conv.0."),
        (".attention.rel_attn_embed.", ".self_attn.relative_attention_bias."),
        (".attention.gru_rel_pos_linear.", ".self_attn.grep_linear."),
        (".attention.gru_rel_pos_const", ".self_attn.grep_a"),
        (".attention.", ".self_attn."),
        (".feed_forward.intermediate_dense.", ".fc1."),
        (".feed_forward.output_dense.", ".fc2."),
    ):
        name = name.replace(old, new)
    if name.startswith("encoder.layers.") and ".layer_norm." in name:
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    if name.startswith("feature_extractor."):
        name = name.replace(".conv.", ".0.").replace(".layer_norm.", ".2.1.")
    return name


@pytest.fixture
def tiny_verifier(tmp_path):
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(3)
    wavlm = WavLMModel(WavLMConfig(**TINY)).eval()
    head = EcapaHead(layers=3, width_in=16, width=16, pooled=24, embedding=8, attention=4).eval()
    state = {f"feature_extract.model.{fairseq_name(k)}": v for k, v in wavlm.state_dict().items()}
    state |= head.state_dict() | {"loss_calculator.projection.weight": torch.zeros(2)}
    path = tmp_path / "wavlm_tiny_finetune.pth"
    torch.save({"model": state}, path)
    return path, wavlm, head


def test_verifier_checkpoint_fills_wavlm_and_head(tiny_verifier):
    path, wavlm, head = tiny_verifier
    model = load_verifier(path, settings=TINY)
    original = speech_pairs()[0][0][:16000]
    with torch.inference_mode():
        samples = torch.nn.functional.layer_norm(torch.from_numpy(original), (16000,))
        states = wavlm(samples[None], output_hidden_states=True).hidden_states
        expected = head(torch.stack(states))[0].numpy()
    np.testing.assert_allclose(model.embed([original])[0], expected, atol=1e-5)
    assert model.name == "wavlm-verifier:wavlm_tiny_finetune"


@pytest.mark.parametrize("batch_seconds", [0.1, 3])
def test_clips_beside_each_other_have_the_vectors_they_have_alone(
    tiny_verifier, monkeypatch, batch_seconds
):
    monkeypatch.setattr(wavlm_verifier, "_BATCH_SECONDS", batch_seconds)
    model = load_verifier(tiny_verifier[0], settings=TINY)
    speech = np.concatenate([original for original, _ in speech_pairs()])
    clips = [speech[:length] for length in (24000, 4000, 16000, 16001, 31999)]
    alone = [model.embed([clip])[0] for clip in clips]
    np.testing.assert_allclose(model.embed(clips), alone, atol=1e-5)
    assert model.embed([]) == []
    # Vectors of other clips are farther apart than that, or nothing was compared.
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_gpu_has_the_verifier_and_processes_have_campplus(tiny_verifier):
    assert device_speaker_model(f"verifier:{tiny_verifier[0]}", "cpu") is None
    assert device_speaker_model(DEFAULT_MODEL, "cuda") is None


def test_every_wavlm_tensor_has_a_published_name(tiny_verifier):
    for name in tiny_verifier[1].state_dict():
        assert to_transformers(fairseq_name(name)) == name


def test_verifier_refuses_what_is_no_verifier(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="ECAPA"):
        load_verifier(tmp_path / "other.pth", settings=TINY)
    with pytest.raises(UsageError, match="cannot be read"):
        load_verifier(tmp_path / "missing.pth", settings=TINY)


def test_xvector_head_loads_from_a_folder_and_names_itself(tmp_path):
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    config = WavLMConfig(**TINY, tdnn_dim=[8, 8], tdnn_kernel=[3, 3], tdnn_dilation=[1, 2])
    WavLMForXVector(config).save_pretrained(tmp_path / "tiny-sv")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "tiny-sv")
    model = load_speaker_model(f"wavlm:{tmp_path / 'tiny-sv'}")
    original = speech_pairs()[0][0]
    assert similarities(model, [(original, original)]) == pytest.approx([1.0], abs=1e-6)
    assert model.name == "wavlm-xvector:tiny-sv"
