"""HiFi-GAN and SEANet in place of Vocos: trained, saved, loaded and decoded as any codec."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.support.training_case import TINY, load_tiny
from xy_codec import load_codec
from xy_codec.errors import ConfigError
from xy_codec.training.codec_start import start_codec
from xy_codec.training.recipe import RECIPES
from xy_codec.training.trainer import Trainer
from xy_codec.weights.source import read_config
from xy_codec.xy.ablation_vocoders import UpsamplingVocoder, factors
from xy_codec.xy.config import CodecConfig, UpsamplingConfig
from xy_codec.xy.model import XYTokenizer

KINDS = ("hifigan", "seanet")
BLOCK = {"input_channels": 80, "dim": 16, "hop_size": 160}


def tiny_config(kind: str) -> dict[str, object]:
    return {key: TINY[key] for key in TINY if key != "vocos_kwargs"} | {f"{kind}_kwargs": BLOCK}


@pytest.mark.parametrize("hop", [160, 240, 320, 7])
def test_factors_make_the_hop(hop: int):
    assert math.prod(factors(hop)) == hop
    assert max(factors(hop)) <= 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_sounds_the_same_alone_and_in_a_padded_batch(kind: str):
    torch.manual_seed(0)
    vocoder = UpsamplingVocoder(UpsamplingConfig(kind, 4, 16, hop_size=20))
    features, lengths = torch.randn(2, 9, 4), torch.tensor([9, 5])
    padded = vocoder(features, lengths)
    for clip, length in enumerate(lengths.tolist()):
        alone = vocoder(features[clip : clip + 1, :length], None)[0]
        assert len(alone) == 20 * length
        torch.testing.assert_close(padded[clip, : len(alone)], alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("stage", "precision"), [("pretrain", "bfloat16"), ("posttrain", "float32")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_ablation_is_trained_and_loaded(tmp_path: Path, kind: str, precision: str, stage: str):
    options = {"steps": 3, "precision": precision, "codebooks__start_step": 1}
    recipe = load_tiny(tmp_path, stage=stage, **options)
    (tmp_path / "codec.yaml").write_text(yaml.safe_dump({"generator_params": tiny_config(kind)}))
    trainer = Trainer(recipe, tmp_path / "run")
    before = {name: each.clone() for name, each in trainer.stage.codec.model.named_parameters()}
    trainer.run()
    after = dict(trainer.stage.codec.model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("vocos.")} <= moved
    if stage == "posttrain":
        return  # from a random start there are no codes
    assert all(each.isfinite().all() for each in after.values())
    codec = load_codec(str(tmp_path / "run/best"))
    waves = 0.1 * torch.randn(2, 12 * 1280, generator=torch.Generator().manual_seed(0))
    codes = codec.encode([waves[0].numpy(), waves[1, : 5 * 1280].numpy()])
    together = codec.decode(codes)
    for made, each in zip(together, codes, strict=True):
        np.testing.assert_array_equal(made, codec.decode([each])[0])
    in_packs = load_codec(str(tmp_path / "run/best"), device="cpu", options={"program": "pack"})
    np.testing.assert_allclose(in_packs.decode(codes[:1])[0], together[0], atol=1e-5)
    # Training and inference are two implementations of one codec.
    warm = replace(recipe.model, warm_start=str(tmp_path / "run/best"))
    trained = start_codec(replace(recipe, model=warm)).eval()
    with torch.no_grad():
        found = trained(waves[:1], torch.tensor([waves.shape[1]]))
    assert found.indices.tolist() == codes[0].tolist()
    np.testing.assert_allclose(found.waves[0], together[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_recipe_of_an_ablation_differs_in_the_vocoder_alone(kind: str):
    full, ablation = (
        dict(read_config(RECIPES / f"{name}.yaml")["generator_params"])
        for name in ("xy_full", f"xy_full_{kind}")
    )
    del full["vocos_kwargs"]
    del ablation[f"{kind}_kwargs"]
    assert ablation == full
    config = CodecConfig.from_mapping(read_config(RECIPES / f"xy_full_{kind}.yaml"))
    with torch.device("meta"):
        XYTokenizer(config)


def test_one_codec_has_one_vocoder():
    with pytest.raises(ConfigError, match="hifigan_kwargs"):
        CodecConfig.from_mapping({**TINY, "hifigan_kwargs": BLOCK})
    with pytest.raises(ConfigError, match=r"seanet_kwargs.*lacks \['hop_size'\]"):
        CodecConfig.from_mapping(
            tiny_config("seanet") | {"seanet_kwargs": {"input_channels": 80, "dim": 16}}
        )
