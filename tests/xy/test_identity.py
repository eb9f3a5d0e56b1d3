"""An identity changes with everything that codes depend on, and with nothing else."""

from pathlib import Path

import yaml
from safetensors.torch import save_file

from tests.support.narrow_xy import narrow_params, narrow_state
from xy_codec import load_codec
from xy_codec.contract import CodecIdentity


def identity_of(folder: Path, **options: object) -> CodecIdentity:
    return load_codec(folder, device="cpu", options=options).identity  # type: ignore[arg-type]


def write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"generator_params": narrow_params()}))
    save_file(narrow_state(), folder / "weights.safetensors")
    return folder


def test_a_weight_an_activation_head_and_an_option_are_identity(tmp_path: Path) -> None:
    plain = identity_of(write(tmp_path / "plain"))
    assert identity_of(write(tmp_path / "again")) == plain

    changed = write(tmp_path / "weight")
    state = narrow_state()
    state["pre_rvq_adapter.layer_norm.bias"][0] += 1e-6
    save_file(state, changed / "weights.safetensors")
    assert identity_of(changed).checkpoint_sha256 != plain.checkpoint_sha256
    assert identity_of(changed).config_sha256 == plain.config_sha256

    # Two heads instead of one: the same shapes of weights, other codes.
    changed = write(tmp_path / "heads")
    params = narrow_params()
    params["semantic_encoder_kwargs"]["encoder_attention_heads"] = 2
    (changed / "config.yaml").write_text(yaml.safe_dump({"generator_params": params}))
    assert identity_of(changed).config_sha256 != plain.config_sha256

    assert identity_of(tmp_path / "plain", depth=2).shape != plain.shape
    assert identity_of(tmp_path / "plain", overlap_seconds=0).options != plain.options


def test_how_a_configuration_is_written_is_no_identity(tmp_path: Path) -> None:
    folder = write(tmp_path / "plain")
    plain = identity_of(folder)
    params = dict(reversed(narrow_params().items()))
    (folder / "config.yaml").write_text(f"# a note\n{yaml.safe_dump(params, sort_keys=False)}")
    assert identity_of(folder) == plain
