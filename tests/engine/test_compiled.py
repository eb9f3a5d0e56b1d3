"""The compiled encoder: one program for every pack, the same codes wherever a clip lies in it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from jobs.cli import run
from pipeline.worker.codec_request import CodecRequest
from tests.support.golden_case import Group, checkpoint_of, small_codec
from xy_codec import load_codec
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.threads import threads
from xy_codec.errors import ConfigError
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec

RNG = np.random.default_rng(30)
# No audio, less than a frame, one frame, exactly 64 tokens, several windows.
LENGTHS = [*RNG.integers(1280, 60_000, 12).tolist(), 0, 1, 1280, 64 * 320 - 640, 500_000]
CLIPS = [(RNG.standard_normal(length) * 0.1).astype(np.float32) for length in LENGTHS]
# The compiler's own use of old torch functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


def test_a_whole_window_fits_a_pack_and_the_geometry_says_that_it_is_compiled() -> None:
    for device in (torch.device("cpu"), torch.device("cuda")):
        geometry = geometry_for(device, "compiled")
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
def test_a_compiled_run_says_so_and_keeps_what_it_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "set by the option")
    soundfile.write(tmp_path / "a.wav", CLIPS[0], 16000)
    output, cache = str(tmp_path / "codes"), tmp_path / "cache"
    words = ["encode", str(tmp_path / "a.wav"), "-o", output, "--compile"]
    assert run([*words, "--codec-option", f"compile_cache={cache}"]) == 0
    identity = json.loads(str(np.load(tmp_path / "codes/a.npz")["identity"]))
    assert identity["pack_geometry"] == "rows2048-compiled"
    assert "compile_cache" not in identity["options"]
    # An audit encodes again as the run did.
    assert CodecRequest.recorded(identity, {}).compiled
    assert any((cache / "inductor").iterdir())
