"""What changes codes changes the identity: weights, sizes and settings, front end, versions."""

import json
import shutil
from importlib.metadata import version

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from xy_codec.loading import checkpoint_sha256, load_codec


def noise(num_samples=6000):
    return np.random.default_rng(5).normal(0, 0.1, num_samples).astype(np.float32)


@pytest.fixture
def copy_of(folder_of, tmp_path):
    return lambda name: shutil.copytree(folder_of(name), tmp_path / name)


def set_json(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def changed(one, other):
    """The fields that differ between two identities."""
    left, right = one.identity.to_dict(), other.identity.to_dict()
    return {name for name in left if left[name] != right[name]}


def test_a_copy_is_the_same_codec(copy_of, codec_of):
    assert (
        load_codec(copy_of("wavtokenizer"), device="cpu").identity
        == codec_of("wavtokenizer").identity
    )


def test_a_weight_changes_it(copy_of, codec_of):
    folder = copy_of("wavtokenizer")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("codebook.embed"))
    weights[name][0, 0] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    codec = load_codec(folder, device="cpu")
    assert changed(codec_of("wavtokenizer"), codec) == {"checkpoint_sha256"}
    assert codec.identity.checkpoint_sha256 == checkpoint_sha256(str(folder))


def test_a_value_of_its_config_changes_it(copy_of, codec_of):
    folder = copy_of("wavtokenizer")
    set_json(folder / "config.json", dilation_growth_rate=3)
    codec = load_codec(folder, device="cpu")
    assert changed(codec_of("wavtokenizer"), codec) == {"config_sha256"}


def test_a_value_of_its_front_end_changes_it(copy_of, codec_of):
    folder = copy_of("wavtokenizer")
    set_json(folder / "preprocessor_config.json", normalize_audio=True)
    codec = load_codec(folder, device="cpu")
    assert changed(codec_of("wavtokenizer"), codec) == {"preprocessor_sha256"}
    (usual,), (normalised,) = codec_of("wavtokenizer").encode([noise()]), codec.encode([noise()])
    assert not np.array_equal(usual, normalised)


@pytest.mark.parametrize(
    ("name", "weights", "value", "fields"),
    [
        ("snac", "pytorch_model.bin", {"sampling_rate": 22050}, {"config_sha256", "shape"}),
        ("speechtokenizer", "SpeechTokenizer.pt", {"dilation_base": 3}, {"config_sha256"}),
    ],
)
def test_weights_and_configs_of_the_other_packages_change_it(
    name, weights, value, fields, copy_of, codec_of
):
    folder = copy_of(name)
    set_json(folder / "config.json", **value)
    assert changed(codec_of(name), load_codec(folder, device="cpu")) == fields
    state = torch.load(folder / weights, weights_only=True)
    state[next(iter(state))].view(-1)[0] += 1e-6
    torch.save(state, folder / weights)
    codec = load_codec(folder, device="cpu")
    assert changed(codec_of(name), codec) == {"checkpoint_sha256", *fields}


def test_versions_of_the_packages_stand_in_it(codec_of):
    versions = {name: version(name) for name in ("transformers", "torchaudio", "snac")}
    assert codec_of("mimi").identity.libraries == {"transformers": versions["transformers"]}
    assert codec_of("neucodec").identity.libraries.keys() == {"transformers", "torchaudio"}
    assert codec_of("snac").identity.libraries == {"snac": versions["snac"]}
