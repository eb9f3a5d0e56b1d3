"""The compiled encoder: one program for every pack, the same codes wherever a clip lies in it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from jobs.cli import run
from tests.support.golden_case import Group, checkpoint_of, small_codec
from xy_codec import load_codec
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.layout import TiledLayout, lay_out_in_tiles
from xy_codec.engine.threads import threads
from xy_codec.errors import ConfigError
from xy_codec.xy.compiled import MappedLayout, map_clips
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec

CPU = torch.device("cpu")
# Clips of `(steps, valid length)`: a short one, one of whole blocks, one beyond a block.
SIZES = [(64, 9), (128, 128), (192, 131)]
NUM_STEPS = 512
RNG = np.random.default_rng(30)
# No audio, less than a frame, one frame, exactly 64 tokens, several windows.
LENGTHS = [*RNG.integers(1280, 60_000, 12).tolist(), 0, 1, 1280, 64 * 320 - 640, 500_000]
CLIPS = [(RNG.standard_normal(length) * 0.1).astype(np.float32) for length in LENGTHS]
# The compiler's own use of old torch functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
# Torch says so when attention that wants a compiler runs without one.
uncompiled = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")


@pytest.fixture
def fixed() -> MappedLayout:
    where = map_clips(SIZES, NUM_STEPS)
    return MappedLayout(where.place, where)


def tiled() -> TiledLayout:
    return lay_out_in_tiles(SIZES, NUM_STEPS, NUM_STEPS, CPU)


def valid_steps() -> torch.Tensor:
    keep = torch.zeros(NUM_STEPS, dtype=torch.bool)
    start = 0
    for steps, length in SIZES:
        keep[start : start + length] = True
        start += steps
    return keep


@uncompiled
def test_attention_is_that_of_each_clip_alone(fixed: MappedLayout) -> None:
    qkv = torch.randn(NUM_STEPS, 3 * 32)
    expected = tiled().attend(qkv, 2)
    attended = fixed.attend(qkv, 2)
    assert torch.allclose(attended, expected, atol=1e-6)
    assert not attended[~valid_steps()].any()


@pytest.mark.parametrize("by", [1, -1, 3, -3])
def test_shifts_stay_inside_their_clip_at_every_rate(fixed: MappedLayout, by: int) -> None:
    packed = tiled()
    used = sum(steps for steps, _ in SIZES)
    steps = torch.randn(2 * NUM_STEPS, 3)
    assert torch.equal(
        fixed.shift(steps[:NUM_STEPS], by)[:used], packed.shift(steps[:NUM_STEPS], by)[:used]
    )
    shifted, expected = fixed.faster(2).shift(steps, by), packed.faster(2).shift(steps, by)
    assert torch.equal(shifted[: 2 * used], expected[: 2 * used])
    slow, packed_slow = fixed.slower(4), packed.slower(4)
    quarter = steps[: NUM_STEPS // 4]
    assert torch.equal(
        slow.shift(quarter, by)[: used // 4], packed_slow.shift(quarter, by)[: used // 4]
    )


def test_positions_count_from_each_clips_own_first_step(fixed: MappedLayout) -> None:
    table = torch.arange(150.0)[:, None]
    got = fixed.add_positions(torch.zeros(NUM_STEPS, 1), table)[:, 0]
    assert got[:64].tolist() == list(range(64))
    assert got[64:192].tolist() == list(range(128))
    assert got[192:342].tolist() == list(range(150))  # steps behind the table belong to no token


def test_attention_at_the_rate_of_frames_is_refused(fixed: MappedLayout) -> None:
    with pytest.raises(NotImplementedError, match="rate of the tokens"):
        fixed.slower(4).attend(torch.zeros(NUM_STEPS // 4, 12), 2)


def test_a_whole_window_fits_a_pack_and_the_geometry_says_that_it_is_compiled() -> None:
    for device in (CPU, torch.device("cuda")):
        geometry = geometry_for(device, is_compiled=True)
        assert geometry.steps_of(1500) <= geometry.tile_steps == geometry.pack_steps
        assert geometry.name == f"rows{geometry.tile_steps}-compiled"


def test_a_missing_compiler_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"g\+\+.*leave out `--compile`"):
        load_codec("xy-nano", device="cpu", compiled=True)


@pytest.fixture(scope="module")
def compiled() -> Iterator[PackedCodec]:
    group = Group("small_xy")
    config = CodecConfig.from_mapping(group.info["params"])
    yield assemble(config, checkpoint_of(group), device="cpu", compiled=True)
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_codes_are_those_of_tiles(compiled: PackedCodec) -> None:
    codec = small_codec("small_xy", 10.0)
    pairs = zip(compiled.encode(CLIPS), codec.encode(CLIPS), strict=True)
    differing = sum(int((ours != theirs).sum()) for ours, theirs in pairs)
    # Sums in another order may flip a code at a tie; there was none where this was written.
    assert differing <= 2


@pytest.mark.slow
def test_compiled_codes_do_not_depend_on_company_place_or_threads(compiled: PackedCodec) -> None:
    alone = [compiled.encode([clip])[0] for clip in CLIPS]
    rng = np.random.default_rng(31)
    for _ in range(20):
        chosen = rng.integers(0, len(CLIPS), rng.integers(1, 33))
        for i, codes in zip(chosen, compiled.encode([CLIPS[i] for i in chosen]), strict=True):
            assert np.array_equal(codes, alone[i])
    for count in (1, 2):
        with threads(count):
            together = compiled.encode(CLIPS)
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.slow
def test_a_compiled_run_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", CLIPS[0], 16000)
    output = str(tmp_path / "codes")
    assert run(["encode", str(tmp_path / "a.wav"), "-o", output, "--compile"]) == 0
    identity = json.loads(str(np.load(tmp_path / "codes/a.npz")["identity"]))
    assert identity["pack_geometry"] == "rows2048-compiled"
