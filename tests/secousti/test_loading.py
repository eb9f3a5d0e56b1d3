"""What `load_codec` takes for a SecoustiCodec, what it refuses, and what its identity says."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.secousti_case import Group, codec_of
from xy_codec import load_codec
from xy_codec.catalogue import find_codec
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.secousti.family import FAMILY
from xy_codec.secousti.released import released_config
from xy_codec.secousti.state_dict import codec_state, config_of, read_released, vocoder_state
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.weights.source import files_sha256

GROUP = Group("small_21")
CODEC = "secousticodec_21_5_hz.pt"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    GROUP.write_release(tmp_path)
    return tmp_path


def rewrite(file: Path, **changes: torch.Tensor | None) -> None:
    """Change or remove tensors of a release's file, whose keys are written with `__` for dots."""
    loaded = torch.load(file, weights_only=True)
    state = loaded.get("model", loaded)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    torch.save(loaded, file)


def test_a_folder_of_the_release_and_its_codec_file_are_the_same_codec(release: Path) -> None:
    by_folder = load_codec(release, device="cpu")
    by_file = load_codec(release / CODEC, device="cpu")
    assert by_folder.identity == by_file.identity
    family, place = find_codec(str(release))
    assert family is FAMILY
    files = [release / CODEC, release / "hift.pt"]
    assert list(family.weight_files(place)) == files
    assert by_folder.identity.checkpoint_sha256 == files_sha256(files)
    assert by_folder.identity.decodes == "seed"


def test_the_shape_says_rates_lengths_and_side_values() -> None:
    slow, fast = codec_of(GROUP).shape, codec_of(Group("small_86")).shape
    assert (slow.samples_per_frame, fast.samples_per_frame) == (1024, 256)
    for shape in (slow, fast):
        assert shape.input_rate_hz == shape.output_rate_hz == shape.min_source_rate_hz == 22050
        assert shape.codebook_sizes == (6561,)
        assert shape.side_floats == 64
    lengths = [384, 385, 511, 512, 1024, 1279, 1280, 2047, 25956, 345000]
    assert [slow.num_frames(n) for n in lengths] == [0, 1, 1, 1, 1, 1, 2, 2, 26, 337]
    assert [fast.num_frames(n) for n in lengths] == [0, 1, 1, 2, 4, 4, 5, 7, 101, 1347]
    assert round(slow.bits_per_second, 1) == 273.0
    assert round(fast.bits_per_second, 1) == 1092.1


def test_recordings_below_the_codec_s_rate_are_taken_by_an_option_alone(release: Path) -> None:
    default = load_codec(release, device="cpu")
    upsampling = load_codec(release, device="cpu", options={"allow_upsampling": True})
    assert default.shape.min_source_rate_hz == 22050
    assert upsampling.shape.min_source_rate_hz == 0
    assert default.identity != upsampling.identity
    with pytest.raises(ConfigError, match="`allow_upsampling` is 1, expected true or false"):
        load_codec(release, device="cpu", options={"allow_upsampling": 1})


def test_a_changed_weight_of_either_file_changes_the_identity(release: Path) -> None:
    before = load_codec(release, device="cpu").identity
    rewrite(release / "hift.pt", conv_post__bias=torch.zeros(18))
    vocoder = load_codec(release, device="cpu").identity
    rewrite(release / CODEC, fsq__project_in__bias=torch.zeros(8))
    codec = load_codec(release, device="cpu").identity
    assert len({each.checkpoint_sha256 for each in (before, vocoder, codec)}) == 3
    assert before.config_sha256 == codec.config_sha256


def test_both_releases_in_one_folder_must_be_told_apart(release: Path) -> None:
    (release / "secousticodec_86_hz.pt").write_bytes((release / CODEC).read_bytes())
    with pytest.raises(CheckpointError, match=r"holds 2 codec files.*pass the file of one"):
        load_codec(release, device="cpu")
    assert load_codec(release / CODEC, device="cpu").shape.samples_per_frame == 1024


def test_the_rate_is_that_of_the_weights_whatever_the_file_is_called(tmp_path: Path) -> None:
    Group("small_86").write_release(tmp_path)
    (tmp_path / "secousticodec_86_hz.pt").rename(tmp_path / CODEC)
    assert load_codec(tmp_path, device="cpu").shape.samples_per_frame == 256


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "generator", None])
def test_wrapped_and_prefixed_weights_are_the_same(tmp_path: Path, wrapper: str | None) -> None:
    codec, vocoder = GROUP.states()
    prefixed = {f"module.{key}": tensor.double() for key, tensor in codec.items()}
    torch.save({wrapper: prefixed} if wrapper else prefixed, tmp_path / "codec.pt")
    torch.save(vocoder, tmp_path / "hift.pt")
    state = read_released(tmp_path / "codec.pt", tmp_path / "hift.pt").state
    expected = codec_state(codec) | vocoder_state(vocoder)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key].to(tensor.dtype), tensor) for key, tensor in expected.items())


def test_older_names_of_weight_norm_are_the_same() -> None:
    _, vocoder = GROUP.states()
    renamed = {
        key.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor
        for key, tensor in vocoder.items()
    }
    old, new = vocoder_state(renamed), vocoder_state(vocoder)
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], tensor) for key, tensor in new.items())


def test_tensors_of_training_are_named_and_left_out(
    release: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(release / CODEC, text_encoder__weight=torch.zeros(3))
    with caplog.at_level(logging.WARNING):
        load_codec(release, device="cpu")
    assert "1 tensors that are not used: ['text_encoder.weight']" in caplog.text


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (CODEC, {"fsq__project_in__bias": None}, r"no sizes of a SecoustiCodec.*lacks it"),
        (CODEC, {"fsq__project_out__bias": None}, r"1 missing: quantizer\.project_out\.bias"),
        (CODEC, {"fsq__project_out__bias": torch.zeros(7)}, r"misshapen.*\[7\] instead of \[128\]"),
        ("hift.pt", {"conv_pre__bias": None}, r"no sizes of a SecoustiCodec"),
        ("hift.pt", {"conv_post__bias": None}, r"1 missing: vocoder\.conv_out\.bias"),
        ("hift.pt", {"flow__weight": torch.zeros(3)}, r"1 extra: vocoder\.flow\.weight"),
    ],
)
def test_files_that_do_not_match_are_refused(
    release: Path, file: str, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    rewrite(release / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_codec(release, device="cpu")


def test_a_codec_file_without_its_vocoder_is_refused(release: Path) -> None:
    (release / "hift.pt").unlink()
    for source in (release, release / CODEC):
        with pytest.raises(CheckpointError, match=r"1 codec files.*no `hift\.pt`"):
            load_codec(source, device="cpu")
    # Under another name nothing tells it from other checkpoints.
    (release / CODEC).rename(release / "weights.pt")
    family, _ = find_codec(str(release))
    assert family is not FAMILY


def test_sizes_are_read_off_the_weights() -> None:
    config = config_of(GROUP.checkpoint())
    recorded = GROUP.info["config"]
    assert config.strides == tuple(recorded["ratios"])
    assert (config.width, config.num_heads) == (recorded["d_model"], recorded["heads"])
    assert (config.num_layers, config.hidden_width) == (recorded["num_layers"], recorded["ffn"])
    assert (config.num_mels, config.seanet_width) == (recorded["n_mels"], recorded["n_filters"])
    assert (config.vocoder_width, config.pitch_width) == (
        recorded["hift_channels"],
        recorded["f0_channels"],
    )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"strides": (2, 1)}, "strides must be 2, 2 or 1, 1"),
        ({"width": 96}, "width must be a multiple of 64"),
        ({"seanet_width": 15}, "seanet_width must be even"),
        ({"num_digits": 10}, "a token must be below 32768"),
        ({"num_layers": 0}, "all sizes must be 1 or more"),
        ({"vocoder_width": 66}, "vocoder_width must be a multiple of 4"),
        ({"vocoder_strides": (8, 4)}, "vocoder_strides times 4 must be 256 samples"),
        ({"vocoder_strides": (4, 16)}, "vocoder_strides must be 8 or more, then 2 or more"),
    ],
)
def test_sizes_that_no_codec_has_are_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        replace(released_config(2), **changes)  # type: ignore[arg-type]


def test_a_foreign_checkpoint_is_refused_by_its_keys() -> None:
    with pytest.raises(CheckpointError, match="no sizes of a SecoustiCodec"):
        config_of(Checkpoint(Path("llm.pt"), {"a": torch.zeros(2)}, {}, ""))
