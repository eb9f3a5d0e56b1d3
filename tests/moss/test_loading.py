"""A folder as the release lays it out: one file or shards with an index, names of any release."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.moss_case import Group, small_codec, write_release
from xy_codec import load_codec
from xy_codec.catalogue import find_codec
from xy_codec.contract import Codec
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.loading import checkpoint_sha256

GROUP = Group("small3")
WAVE = (np.random.default_rng(3).standard_normal(20_000) * 0.1).astype(np.float32)
INDEX = "model.safetensors.index.json"
SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return small_codec("small3").encode([WAVE])[0]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_release(tmp_path, GROUP, num_shards=2)


def single(folder: Path, state: Mapping[str, Tensor]) -> Path:
    save_file(dict(state), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(GROUP.info["config"]))
    return folder


def load(source: Path, **options: Any) -> Codec:
    return load_codec(source, device="cpu", **options)


def test_a_folder_of_shards_is_the_codec_of_one_file(shards: Path, codes: np.ndarray) -> None:
    codec = load(shards)
    assert np.array_equal(codec.encode([WAVE])[0], codes)
    assert codec.identity.checkpoint_sha256 == checkpoint_sha256(str(shards))
    assert load(shards / INDEX).identity == codec.identity
    one = shards / "one"
    one.mkdir()
    whole = load(single(one, GROUP.state()))
    assert np.array_equal(whole.encode([WAVE])[0], codes)
    assert whole.identity.config_sha256 == codec.identity.config_sha256
    for source in (one / "model.safetensors", one):
        assert load(source).identity == whole.identity


def test_the_bytes_of_every_shard_are_in_the_hash(shards: Path) -> None:
    before = checkpoint_sha256(str(shards))
    key = json.loads((shards / INDEX).read_text())["weight_map"]
    state = GROUP.state()
    changed = {name: state[name] for name in key if key[name] == SHARD}
    first = next(iter(changed))
    changed[first] = changed[first] + 1.0
    save_file(changed, shards / SHARD)
    assert checkpoint_sha256(str(shards)) != before


def test_names_of_older_files_are_accepted(tmp_path: Path, codes: np.ndarray) -> None:
    old = {}
    for number, (key, tensor) in enumerate(GROUP.state().items()):
        key = key.replace("parametrizations.weight.original0", "weight_g")
        key = key.replace("parametrizations.weight.original1", "weight_v")
        joined = ".in_proj_weight" if number % 2 else ".in_proj.weight"
        key = key.replace(".in_projs.0.weight", joined)
        old[key.replace(".out_projs.0.weight", ".out_proj.weight")] = tensor
    assert not set(old) & {key for key in GROUP.state() if "projs" in key or "original" in key}
    assert np.array_equal(load(single(tmp_path, old)).encode([WAVE])[0], codes)


def test_missing_and_unknown_keys_are_named(tmp_path: Path) -> None:
    state = GROUP.state()
    state.pop("quantizer.quantizers.3.in_proj.parametrizations.weight.original0", None)
    state.pop("encoder.1.transformer.layers.0.norm1.bias")
    state["extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"missing: encoder\.1\..*norm1\.bias.*extra: "):
        load(single(tmp_path, state))


def test_damaged_shards_and_indexes_are_one_clear_error(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    key = next(key for key, name in index["weight_map"].items() if name == SHARD)
    for weight_map, message in (
        ({**index["weight_map"], "absent": SHARD}, "lacks 1 tensors .*`absent`"),
        ({**index["weight_map"], key: "../x.safetensors"}, "names files outside"),
        ({**index["weight_map"], key: ""}, "names files outside"),
        ({}, "or none"),
        ([], "cannot be read"),
    ):
        (shards / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(CheckpointError, match=message):
            load(shards)
    (shards / INDEX).write_text(json.dumps(index))
    (shards / SHARD).unlink()
    with pytest.raises(CheckpointError, match=rf"{SHARD}` is damaged"):
        load(shards)


def test_the_depth_cuts_codes_and_stands_in_the_identity(shards: Path, codes: np.ndarray) -> None:
    codec = load(shards, options={"depth": 3})
    assert np.array_equal(codec.encode([WAVE])[0], codes[:3])
    assert codec.shape.num_codebooks == codec.identity.options["depth"] == 3
    assert codec.identity != load(shards).identity
    assert len(codec.decode([codes[:2]])[0]) == codes.shape[1] * 1280


def test_a_config_of_its_own_may_be_named(shards: Path) -> None:
    apart = shards / "apart"
    apart.mkdir()
    (shards / "config.json").rename(apart / "moss.json")
    assert load(shards, config=apart / "moss.json").shape == small_codec("small3").shape


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"options": {"depth": 0}}, "`depth` is 0; expected 1 to 12"),
        ({"options": {"depth": 13}}, "`depth` is 13; expected 1 to 12"),
        ({"options": {"overlap_seconds": 1.0}}, "`overlap_seconds` is unknown"),
        ({"precision": "fast"}, "`fast`; expected exact"),
        ({"compiled": True}, "no compiled form"),
    ],
)
def test_wishes_that_it_cannot_fulfil_are_refused(
    shards: Path, wish: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(shards, **wish)


def test_version_2_is_refused_by_its_name_before_its_weights_are_read(tmp_path: Path) -> None:
    config = GROUP.info["config"] | {"number_channels": 2, "sampling_rate": 48000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    family, _ = find_codec(str(tmp_path))
    assert family.name == "MOSS-Audio-Tokenizer"
    with pytest.raises(ConfigError, match="which only MOSS-Audio-Tokenizer-v2 has"):
        load(tmp_path)


def test_the_identity_says_what_kind_of_codec_it_is(shards: Path) -> None:
    identity = load(shards).identity
    assert (identity.company, identity.span, identity.tail) == ("packed", "causal", "drop")
    assert identity.pack_geometry == "rows512-blocks32"
    assert identity.shape.codebook_sizes == (300,) * 12
    assert identity.shape.min_samples == identity.shape.samples_per_frame == 1280
