"""Folders that are no codec, or not whole, are refused with the reason and the way out."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.hub.table import ROWS
from xy_codec.loading import load_codec


@pytest.fixture
def copy_of(folder_of, tmp_path):
    return lambda name: shutil.copytree(folder_of(name), tmp_path / name)


def set_json(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("pocket_tts_audio_tokenizer", "has continuous latents instead of codes"),
        ("vibevoice_acoustic_tokenizer", "has continuous latents instead of codes"),
        ("whisper", "xytok does not know as a codec"),
    ],
)
def test_other_models_of_transformers_are_refused_by_name(model_type, reason, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ConfigError, match=rf"`{model_type}`, which {reason}; expected one of dac"):
        load_codec(tmp_path)


@pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json"])
def test_a_folder_that_is_not_whole_is_refused(missing, copy_of):
    folder = copy_of("mimi")
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=f"has no `{missing}`.*save_pretrained"):
        load_codec(folder)


def test_weights_that_are_not_there_are_not_made_up(copy_of):
    folder = copy_of("dac")
    weights = load_file(folder / "model.safetensors")
    del weights["quantizer.quantizers.3.codebook.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"parts of its DacModel \(1\): quantizer"):
        load_codec(folder)


def test_a_weight_that_only_training_uses_may_be_missing(copy_of, codec_of):
    folder = copy_of("xcodec")
    weights = load_file(folder / "model.safetensors")
    del weights["semantic_model.masked_spec_embed"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    clip = np.random.default_rng(5).normal(0, 0.1, 6000).astype(np.float32)
    (codes,) = load_codec(folder, device="cpu").encode([clip])
    assert np.array_equal(codes, codec_of("xcodec").encode([clip])[0])


def test_weights_of_other_sizes_are_refused(copy_of):
    folder = copy_of("dac")
    set_json(folder / "config.json", codebook_size=512)
    with pytest.raises(CheckpointError, match="cannot be loaded as a DacModel"):
        load_codec(folder)


def test_a_damaged_file_is_refused(copy_of):
    folder = copy_of("dac")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match="cannot be loaded as a DacModel"):
        load_codec(folder)


def test_a_value_that_transformers_refuses_is_told(copy_of):
    folder = copy_of("mimi")
    set_json(folder / "config.json", codebook_size=1000)
    with pytest.raises(ConfigError, match=r"refused by transformers.*power of 2"):
        load_codec(folder)


@pytest.mark.parametrize(
    "wrong", [{"audio_channels": 2}, {"normalize": True}, {"chunk_length_s": 1.0, "overlap": 0.01}]
)
def test_codecs_for_music_are_refused(wrong, copy_of):
    folder = copy_of("encodec")
    set_json(folder / "config.json", **wrong)
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong))}` is .*release for mono speech"):
        load_codec(folder)


def test_the_front_end_of_another_rate_is_refused(copy_of):
    folder = copy_of("mimi")
    set_json(folder / "preprocessor_config.json", sampling_rate=16000)
    with pytest.raises(ConfigError, match="is for 16000 Hz; expected 24000 Hz"):
        load_codec(folder)


def test_a_front_end_that_pads_otherwise_fails_the_self_test(copy_of):
    folder = copy_of("dac")
    set_json(folder / "preprocessor_config.json", hop_length=640)
    with pytest.raises(CheckpointError, match=r"self-test with transformers .*\[12, 2\] for 1 sam"):
        load_codec(folder)


def test_a_transformers_without_the_class_is_told_which_has_it(copy_of, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers, "__version__", "5.12.0")
    older = replace(ROWS["wavtokenizer"], model="MissingModel")
    monkeypatch.setitem(ROWS, "wavtokenizer", older)
    with pytest.raises(ConfigError, match=r"transformers 5.12.0 has no .*expected 5.24 or later"):
        load_codec(copy_of("wavtokenizer"))


def test_code_in_a_folder_does_not_run(copy_of):
    folder = copy_of("mimi")
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    auto = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    set_json(folder / "config.json", auto_map=auto)
    set_json(folder / "preprocessor_config.json", auto_map={"AutoFeatureExtractor": "evil.It"})
    assert load_codec(folder, device="cpu").identity.name == "mimi"


@pytest.mark.parametrize("name", ["snac", "speechtokenizer"])
def test_a_package_that_is_not_installed_is_named(name, copy_of, monkeypatch):
    folder = copy_of(name)
    monkeypatch.setattr("xy_codec.hub.packages.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"`{name}` is not installed.*pip install 'xytok"):
        load_codec(folder)


@pytest.mark.parametrize("name", ["snac", "speechtokenizer"])
def test_sizes_that_a_package_refuses_are_told(name, copy_of):
    folder = copy_of(name)
    set_json(folder / "config.json", encoder_rates="x", n_filters="x")
    with pytest.raises(ConfigError, match=r"config.json` is refused by `S"):
        load_codec(folder)


def test_a_trainer_is_not_imported_to_encode(codec_of):
    codec_of("speechtokenizer")
    assert "speechtokenizer.model" in sys.modules
    assert "speechtokenizer" not in sys.modules
    assert "speechtokenizer.trainer" not in sys.modules


def test_only_float32_is_offered(folder_of):
    with pytest.raises(ConfigError, match="Precision is `fast`; expected exact"):
        load_codec(folder_of("mimi"), precision="fast")
