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
from xy_codec.engine.fixed_layout import FixedLayout, map_clips
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.packed_codec import NeuralCodec
from xy_codec.engine.packing import lay_out
from xy_codec.errors import ConfigError
from xy_codec.loading import assemble
from xy_codec.xy.config import CodecConfig

CPU = torch.device("cpu")
# Clips of `(rows, valid length)`: a short one, one of whole blocks, one beyond a block.
SIZES = [(64, 9), (128, 128), (192, 131)]
NUM_ROWS = 512
RNG = np.random.default_rng(30)
# No audio, less than a frame, one frame, exactly 64 tokens, several windows.
LENGTHS = [*RNG.integers(1280, 60_000, 12).tolist(), 0, 1, 1280, 64 * 320 - 640, 500_000]
CLIPS = [(RNG.standard_normal(length) * 0.1).astype(np.float32) for length in LENGTHS]
# The compiler's own use of old torch functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
# Torch says so when attention that wants a compiler runs without one.
uncompiled = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")


@pytest.fixture
def fixed() -> FixedLayout:
    where = map_clips(SIZES, NUM_ROWS)
    return FixedLayout(where.place, where)


def valid_rows() -> torch.Tensor:
    keep = torch.zeros(NUM_ROWS, dtype=torch.bool)
    start = 0
    for rows, length in SIZES:
        keep[start : start + length] = True
        start += rows
    return keep


@uncompiled
def test_attention_is_that_of_each_clip_alone(fixed: FixedLayout) -> None:
    qkv = torch.randn(NUM_ROWS, 3 * 32)
    expected = lay_out(SIZES, NUM_ROWS, CPU).attend(qkv, 2)
    attended = fixed.attend(qkv, 2)
    assert torch.allclose(attended, expected, atol=1e-6)
    assert not attended[~valid_rows()].any()


@pytest.mark.parametrize("by", [1, -1, 3, -3])
def test_shifts_stay_inside_their_clip_at_every_rate(fixed: FixedLayout, by: int) -> None:
    packed = lay_out(SIZES, NUM_ROWS, CPU)
    used = sum(rows for rows, _ in SIZES)
    rows = torch.randn(2 * NUM_ROWS, 3)
    assert torch.equal(
        fixed.shift(rows[:NUM_ROWS], by)[:used], packed.shift(rows[:NUM_ROWS], by)[:used]
    )
    shifted, expected = fixed.faster(2).shift(rows, by), packed.faster(2).shift(rows, by)
    assert torch.equal(shifted[: 2 * used], expected[: 2 * used])
    slow, packed_slow = fixed.slower(4), packed.slower(4)
    quarter = rows[: NUM_ROWS // 4]
    assert torch.equal(
        slow.shift(quarter, by)[: used // 4], packed_slow.shift(quarter, by)[: used // 4]
    )


def test_positions_count_from_each_clips_own_first_row(fixed: FixedLayout) -> None:
    table = torch.arange(150.0)[:, None]
    got = fixed.add_positions(torch.zeros(NUM_ROWS, 1), table)[:, 0]
    assert got[:64].tolist() == list(range(64))
    assert got[64:192].tolist() == list(range(128))
    assert got[192:342].tolist() == list(range(150))  # rows behind the table belong to no token


def test_what_only_decoding_needs_is_refused(fixed: FixedLayout) -> None:
    with pytest.raises(NotImplementedError, match="depthwise"):
        fixed.depthwise(torch.zeros(NUM_ROWS, 4), torch.nn.Conv1d(4, 4, 7, groups=4))
    with pytest.raises(NotImplementedError, match="rate of the tokens"):
        fixed.slower(4).attend(torch.zeros(NUM_ROWS // 4, 12), 2)


def test_a_whole_window_fits_a_pack_and_the_geometry_says_that_it_is_compiled() -> None:
    for device in (CPU, torch.device("cuda")):
        geometry = geometry_for(device, is_compiled=True)
        assert geometry.rows_of(1500) <= geometry.tile_rows == geometry.pack_rows
        assert geometry.name == f"rows{geometry.tile_rows}-compiled"


def test_a_missing_compiler_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"g\+\+.*leave out `--compile`"):
        load_codec("xy-nano", device="cpu", compiled=True)


@pytest.fixture(scope="module")
def compiled() -> Iterator[NeuralCodec]:
    group = Group("small_xy")
    config = CodecConfig.from_mapping(group.info["params"])
    yield assemble(config, checkpoint_of(group), device="cpu", compiled=True)
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_codes_are_those_of_tiles(compiled: NeuralCodec) -> None:
    codec = small_codec("small_xy", 10.0)
    pairs = zip(compiled.encode(CLIPS), codec.encode(CLIPS), strict=True)
    differing = sum(int((ours != theirs).sum()) for ours, theirs in pairs)
    # Sums in another order may flip a code at a tie; there was none where this was written.
    assert differing <= 2
    few = compiled.encode(CLIPS[:3], num_codebooks=2)
    for ours, theirs in zip(few, codec.encode(CLIPS[:3], num_codebooks=2), strict=True):
        assert ours.shape == theirs.shape


@pytest.mark.slow
def test_compiled_codes_do_not_depend_on_company_place_or_threads(compiled: NeuralCodec) -> None:
    alone = [compiled.encode([clip])[0] for clip in CLIPS]
    rng = np.random.default_rng(31)
    for _ in range(20):
        chosen = rng.integers(0, len(CLIPS), rng.integers(1, 33))
        for i, codes in zip(chosen, compiled.encode([CLIPS[i] for i in chosen]), strict=True):
            assert np.array_equal(codes, alone[i])
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            together = compiled.encode(CLIPS)
        finally:
            torch.set_num_threads(before)
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.slow
def test_a_compiled_run_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", CLIPS[0], 16000)
    output = str(tmp_path / "codes")
    assert run(["encode", str(tmp_path / "a.wav"), "-o", output, "--compile"]) == 0
    identity = json.loads(str(np.load(tmp_path / "codes/a.npz")["identity"]))
    assert identity["pack_geometry"] == "rows2048-compiled"
