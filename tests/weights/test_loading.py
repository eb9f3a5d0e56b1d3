"""Every way a codec can be named, every way a checkpoint can be wrong."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.support.golden_case import Group
from xy_codec import load_codec
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.weights.source import fetch_once
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.state_dict import RECOMPUTED

GROUP = Group("small_xy")
State = dict[str, torch.Tensor]
WAVE = (np.random.default_rng(3).standard_normal(20_000) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def state() -> State:
    """A complete state dict under the released names."""
    model = XYTokenizer(CodecConfig.from_mapping(GROUP.info["params"]))
    made = model.state_dict()
    made.update({key: torch.from_numpy(a) for key, a in GROUP.arrays().items()})
    return made


@pytest.fixture
def folder(tmp_path: Path, state: State) -> Path:
    """A folder as it is released: YAML and pickle."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"generator_params": GROUP.info["params"]})
    )
    torch.save({"generator": state, "step": 7}, tmp_path / "xy.ckpt")
    return tmp_path


def rewrite(folder: Path, change: Callable[[State], None]) -> Path:
    loaded = torch.load(folder / "xy.ckpt", weights_only=True)["generator"]
    change(loaded)
    torch.save(loaded, folder / "xy.ckpt")
    return folder


def codes_of(source: str | Path, **options: Any) -> np.ndarray:
    return load_codec(source, device="cpu", **options).encode([WAVE])[0]


def test_folder_file_and_url_are_the_same_codec(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = load_codec(folder, device="cpu")
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/codec/{p.name}": p.read_bytes() for p in folder.iterdir() if p.is_file()})
    for source in (folder / "xy.ckpt", "memory://codec/", "memory://codec/", f"file://{folder}"):
        codec = load_codec(str(source), device="cpu")
        assert codec.identity == expected.identity
    assert np.array_equal(codec.encode([WAVE])[0], expected.encode([WAVE])[0])


def test_the_transformers_port_gives_the_same_codes(folder: Path, tmp_path: Path) -> None:
    expected = codes_of(folder)
    port = tmp_path / "port"
    port.mkdir()
    loaded = torch.load(folder / "xy.ckpt", weights_only=True)["generator"]
    save_file({ported(k): t.reshape(()) if "inited" in k else t for k, t in loaded.items()},
              port / "model.safetensors")  # fmt: skip
    params = dict(GROUP.info["params"])
    params.pop("sample_rate")
    config = params | {"input_sampling_rate": 16000, "sampling_rate": 16000, "model_type": "xy",
                       "encoder_downsample_rate": 1280, "decoder_upsample_rate": 1280,
                       "architectures": ["XY"]}  # fmt: skip
    (port / "config.json").write_text(json.dumps(config))
    assert np.array_equal(codes_of(port), expected)


def ported(key: str) -> str:
    key = key.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.")
    key = key.replace("weight_g", "parametrizations.weight.original0")
    key = key.replace("weight_v", "parametrizations.weight.original1")
    key = key.replace("positional_embedding", "positional_embedding.weight")
    return key.replace("vocos.", "enhanced_vocos.", 1) if key.startswith("vocos.") else key


def test_inference_files_may_leave_out_what_can_be_recomputed(folder: Path, tmp_path: Path) -> None:
    loaded = torch.load(folder / "xy.ckpt", weights_only=True)["generator"]
    small = {k: t.half() for k, t in loaded.items() if not k.endswith(RECOMPUTED)}
    target = tmp_path / "made.safetensors"
    save_file(small, target, {"format": "xytok-inference", "name": "mine"})
    codec = load_codec(target, config=folder / "config.yaml", device="cpu")
    assert codec.identity.name == "mine"
    assert codec.encode([WAVE])[0].shape == (8, 15)
    save_file(small, target)
    with pytest.raises(CheckpointError, match=r"missing: .*positional_embedding"):
        load_codec(target, config=folder / "config.yaml", device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("downsample.layer_norm.bias"), r"1 missing: downsample\.layer_norm\.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 extra: extra"),
        (
            lambda s: s.update({"semantic_encoder.conv1.bias": torch.zeros(5)}),
            r"misshapen: semantic_encoder\.conv1\.bias \[5\] instead of \[96\]",
        ),
    ],
)
def test_keys_must_match_and_the_fault_is_named(
    folder: Path, change: Callable[[State], None], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_codec(rewrite(folder, change), device="cpu")


class Exploit:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.marker,)


def test_a_pickle_that_runs_code_is_refused_before_it_does(folder: Path) -> None:
    marker = folder / "code-was-run"
    torch.save({"generator": {}, "bad": Exploit(str(marker))}, folder / "xy.ckpt")
    with pytest.raises(CheckpointError, match="would run code"):
        load_codec(folder, device="cpu")
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_truncated_checkpoint_is_one_clear_error(
    folder: Path, state: State, keep: float, suffix: str
) -> None:
    path = folder / f"xy{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CheckpointError, match=r"damaged|refused"):
        load_codec(path, device="cpu")


def test_unknown_keys_and_values_of_a_configuration_are_named(folder: Path) -> None:
    path = folder / "config.yaml"
    params = dict(GROUP.info["params"])
    for change, message in (
        ({"frobnicate": 1}, "frobnicate"),
        ({"quantizer_kwargs": {**params["quantizer_kwargs"], "odd": 1}}, r"unknown keys \['odd'\]"),
        ({"quantizer_kwargs": None}, "expected a mapping"),
        ({"sample_rate": "16k"}, "16k"),
        ({"vocos_kwargs": {**params["vocos_kwargs"], "padding": "center"}}, "padding must be"),
        ({"vocos_kwargs": {**params["vocos_kwargs"], "dim": -1}}, "-1; expected a positive"),
    ):
        path.write_text(yaml.safe_dump({"generator_params": {**params, **change}}))
        with pytest.raises(ConfigError, match=message):
            load_codec(folder, device="cpu")
    path.write_text("- a list\n")
    with pytest.raises(ConfigError, match="holds a list"):
        load_codec(folder / "xy.ckpt", config=path, device="cpu")


def test_wrong_options_are_refused_with_the_valid_ones(folder: Path) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"precision": "sloppy"}, "exact or fast"),
        ({"device": "abacus"}, "cuda:N"),
        ({"device": "meta"}, "cuda:N"),
        ({"options": {"overlap_seconds": 30}}, "Use 29.92"),
        ({"options": {"overlap_seconds": 9.99}}, r"9\.92 or 10"),
        ({"options": {"overlap_seconds": -1}}, "Use 0"),
        ({"options": {"depth": 9}}, "`depth` is 9; expected 1 to 8"),
        ({"options": {"depth": "all"}}, "`depth` is 'all', expected a whole number"),
        (
            {"options": {"deep": 2}},
            "`deep` is unknown, expected one of compile_cache, depth, overlap",
        ),
    )
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            load_codec(folder, **{"device": "cpu", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_gpu_is_said_so(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        load_codec(folder, device="cuda")


def test_a_source_that_is_nowhere_lists_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="bundled names"):
        load_codec("no-such-codec")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_codec(tmp_path)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        load_codec("memory://nowhere/at/all.ckpt")


def test_secrets_in_a_url_that_cannot_be_fetched_are_not_shown() -> None:
    with pytest.raises(CheckpointError, match=r"`memory://bucket/c\.ckpt` could not") as caught:
        load_codec("memory://KEY:hush@bucket/c.ckpt?X-Signature=hush")
    assert "hush" not in str(caught.value)
    fsspec.filesystem("memory").pipe_file("/bare?X-Signature=hush/readme.yaml", b"{}")
    with pytest.raises(CheckpointError, match=r"`memory://bare` holds no") as caught:
        load_codec("memory://bare?X-Signature=hush")
    assert "hush" not in str(caught.value)


def test_a_repository_that_cannot_be_reached_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="could not be fetched from Hugging Face"):
        load_codec("fdugyt/XY_Tokenizer")


def test_a_repository_is_read_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    commit = "a" * 40
    cached = folder / "hub" / "models--someone--codec"
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in ("config.yaml", "xy.ckpt"):
        (folder / name).rename(snapshot / name)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert codes_of("someone/codec").shape == (8, 15)


def test_the_bundled_checkpoint_loads_by_name() -> None:
    codec = load_codec("xy-nano", device="cpu")
    assert codec.identity.name == "xy-nano"
    assert codec.encode([WAVE])[0].shape == (8, 15)


def test_options_are_a_mapping_of_finite_values() -> None:
    wrong: tuple[tuple[Any, str], ...] = (
        (["depth=3"], "expected a mapping"),
        ({"overlap_seconds": float("nan")}, "expected a finite number"),
    )
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            load_codec("xy-nano", device="cpu", options=options)


def test_of_several_workers_of_a_node_one_fetches_the_checkpoint(tmp_path: Path) -> None:
    written = []

    def write(target: BinaryIO) -> None:
        written.append(target.name)
        time.sleep(0.2)
        target.write(b"weights")

    workers = [threading.Thread(target=fetch_once, args=(tmp_path / "c", write)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "c").read_bytes() == b"weights"
    assert len(written) == 1
