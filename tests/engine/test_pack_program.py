"""Packs of one shape: codes and sound of the reference, a clip's own bits, few device calls."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import run
from pipeline.bench.clips import emilia_lengths
from tests.support.golden_case import (
    Group,
    checkpoint_of,
    compare_codes,
    inputs,
    recorded,
    wave_error,
)
from xy_codec.engine.geometry import Geometry, geometry_for
from xy_codec.engine.packing import fill_packs_closely
from xy_codec.engine.threads import threads
from xy_codec.errors import ConfigError
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.decode_program import DecodeProgram
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec

RNG = np.random.default_rng(40)
ON_CUDA = geometry_for(torch.device("cuda"), "pack")
# Small, so that many packs run quickly; it holds clips of 10 s.
SHORT = Geometry(512, 512, program="pack")
LENGTHS = [*RNG.integers(1280, 30_000, 14).tolist(), 0, 1, 1279, 1280, 1281, 100_000]
# Operations of a pack of the full model, at most.
BOUNDS = {"exact": 450, "fast": 450, "decode": 520}
CAUSAL_BOUNDS = {"secousti": 400, "secousti-decode": 4720, "moss": 2200, "moss-decode": 1650}
CLIPS = [(RNG.standard_normal(n) * RNG.uniform(0.01, 0.3)).astype(np.float32) for n in LENGTHS]


def pack_codec(group: str = "small_xy", overlap: float = 10.0, **options: Any) -> PackedCodec:
    found = Group(group)
    config = CodecConfig.from_mapping(found.info["params"])
    chosen = {"overlap_seconds": overlap, "program": "pack", **options}
    return assemble(config, checkpoint_of(found), device="cpu", options=chosen)


@pytest.fixture(scope="module")
def codec() -> PackedCodec:
    made = pack_codec()
    made.geometry = SHORT
    return made


@pytest.fixture(scope="module")
def alone(codec: PackedCodec) -> list[np.ndarray]:
    return [codec.encode([clip])[0] for clip in CLIPS]


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "tests.support.device_operations", *BOUNDS, *CAUSAL_BOUNDS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_operations_copies_and_waits_are_counted(asked: list[dict[str, Any]]) -> None:
    known = asked[0]
    assert known["most"] == {"aten.add": 1, "aten.mul_": 1, "aten.gt": 1, "aten.sum": 1}
    assert (known["to_device"], known["to_host"]) == (1, 1)
    assert sum(known["syncs"].values()) == 3


@pytest.mark.parametrize("kind", BOUNDS)
def test_a_pack_of_the_full_model_is_few_operations_and_one_copy_each_way(
    asked: list[dict[str, Any]], kind: str
) -> None:
    packs = [pack for pack in asked[1:] if pack["kind"] == kind]
    assert [pack["clips"] for pack in packs] == [1, 15, 60]
    assert len({json.dumps(pack["most"]) for pack in packs}) == 1
    for pack in packs:
        assert 300 < pack["operations"] <= BOUNDS[kind], pack["most"]
        assert (pack["to_device"], pack["to_host"], pack["syncs"]) == (1, 1, {})


@pytest.mark.parametrize("kind", CAUSAL_BOUNDS)
def test_packs_of_causal_codecs_are_as_many_operations_for_any_clips(
    asked: list[dict[str, Any]], kind: str
) -> None:
    *packs, long = [pack for pack in asked[1:] if pack["kind"] == kind]
    assert [pack["clips"] for pack in packs] == [1, 15, 60]
    assert len({json.dumps(pack["most"]) for pack in packs}) == 1
    for pack in (*packs, long):
        assert 300 < pack["operations"] <= CAUSAL_BOUNDS[kind], pack["most"]
        assert (pack["to_device"], pack["to_host"], pack["syncs"]) == (1, 1, {})
    # What the clip saw in the pack before is copied in, and what it leaves to the next one out.
    assert long["clips"] == "long"
    assert long["operations"] == packs[0]["operations"] + 2


@pytest.mark.parametrize(
    "longest", [300_000, pytest.param(10**9, marks=pytest.mark.slow)], ids=["short", "all"]
)
@pytest.mark.parametrize("group", ["small_xy", "small_ttsd32"])
def test_small_models_give_the_recorded_codes_and_waveforms(group: str, longest: int) -> None:
    found, done = Group(group), 0
    for overlap in (0, 10):
        made, coded = pack_codec(group, float(overlap)), {}
        for case in found.cases("cases"):
            info = found.info["cases"][case]
            samples = sum(length for _, length in info["inputs"])
            if info["overlap_seconds"] == overlap and samples < longest:
                coded[case] = made.encode(inputs(info))
                assert compare_codes(recorded(found, case), coded[case]) == (0, 0), case
                done += 1
        assert_recorded_waveforms(made, found, coded, overlap)
    assert done >= 3


@pytest.mark.parametrize("group", ["small_xy", "small_ttsd32"])
def test_small_models_decode_the_recorded_codes(group: str) -> None:
    found, coded = Group(group), {}
    for case in found.cases("decode_cases"):
        if found.info["decode_cases"][case]["overlap_seconds"] == 10:
            expected = recorded(found, case)
            keys = [key for key in expected if key.startswith("codes/")]
            coded[case] = [expected[key].astype(np.int16) for key in keys]
    assert len(coded) >= 3
    assert_recorded_waveforms(pack_codec(group), found, coded, 10)


def assert_recorded_waveforms(
    codec: PackedCodec, group: Group, coded: dict[str, list[np.ndarray]], overlap: float
) -> None:
    """All cases in one call, so that clips of several lie in a pack."""
    waves = iter(codec.decode([codes for each in coded.values() for codes in each]))
    for case, codes in coded.items():
        own = [next(waves) for _ in codes]
        assert wave_error(codec, recorded(group, case), own, overlap) < 1e-4, case


def test_codes_do_not_depend_on_company_or_threads(
    codec: PackedCodec, alone: list[np.ndarray]
) -> None:
    rng = np.random.default_rng(41)
    for _ in range(12):
        chosen = rng.integers(0, len(CLIPS), rng.integers(2, 20))
        for i, codes in zip(chosen, codec.encode([CLIPS[i] for i in chosen]), strict=True):
            assert np.array_equal(codes, alone[i])
    with threads(2):
        together = codec.encode(CLIPS[:6])
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=False))


def test_latents_have_the_same_bits_at_every_place(codec: PackedCodec) -> None:
    probe = CLIPS[0][:12_000]
    own = codec._jobs("probe", probe)[0].steps
    seen: list[torch.Tensor] = []
    hook = codec.encoder.input_proj.register_forward_hook(
        lambda _module, _inputs, latents: seen.append(latents.clone())
    )
    try:
        codec.encode([probe])
        expected, starts = seen[0][: len(probe) // 1280], set()
        for shift in [*range(8, own + 8, 4), *range(240, own + 240, 4)]:
            filler = np.full(shift * 320 - 640, 0.01, np.float32)
            copies = min((512 - shift) // own, SHORT.most_clips - 1)
            with torch.inference_mode():
                codec._pack_codes([*codec._jobs(0, filler), *codec._jobs(1, probe) * copies])
            for number in range(copies):
                start = shift + number * own
                starts.add(start)
                got = seen[-1][start // 4 :][: len(expected)]
                assert torch.equal(got, expected), f"starting at step {start}"
    finally:
        hook.remove()
    assert starts >= set(range(8, 512 - own + 1, 4))


# Codes of no frame up to a whole pack, of every depth.
CODED = [
    RNG.integers(0, 64, (RNG.integers(1, 9), frames)).astype(np.int16)
    for frames in (*RNG.integers(1, 40, 20), 0, 1, 2, 3, 128)
]


@pytest.fixture(scope="module")
def heard(codec: PackedCodec) -> list[np.ndarray]:
    return [codec.decode([codes])[0] for codes in CODED]


def test_samples_are_those_of_clips_decoded_one_by_one(
    codec: PackedCodec, heard: list[np.ndarray]
) -> None:
    # Tiles of the same size, whose attention, convolution and inverse STFT go clip by clip.
    tiles = copy.copy(codec)
    tiles.geometry = Geometry(SHORT.tile_steps, SHORT.pack_steps)
    for mine, theirs in zip(heard, tiles.decode(CODED), strict=True):
        assert np.array_equal(mine, theirs)


def test_samples_do_not_depend_on_company_or_threads(
    codec: PackedCodec, heard: list[np.ndarray]
) -> None:
    rng = np.random.default_rng(42)
    packs = codec.counters.packs_run
    for _ in range(6):
        chosen = rng.integers(0, len(CODED), rng.integers(2, 20))
        for i, wave in zip(chosen, codec.decode([CODED[i] for i in chosen]), strict=True):
            assert np.array_equal(wave, heard[i])
    assert codec.counters.packs_run - packs >= 8
    with threads(2):
        together = codec.decode(CODED)
    assert all(np.array_equal(a, b) for a, b in zip(together, heard, strict=True))


def test_samples_have_the_same_bits_at_every_place(
    codec: PackedCodec, heard: list[np.ndarray]
) -> None:
    probe, alone, num_frames = CODED[0], heard[0], SHORT.pack_steps // 4
    own = probe.shape[1]
    for shift in range(1, own + 1):
        copies = (num_frames - shift) // own
        filler = np.zeros((3, shift), np.int16)
        packs = codec.counters.packs_run
        _, *waves = codec.decode([filler, *[probe] * copies])
        assert codec.counters.packs_run == packs + 1
        for number, wave in enumerate(waves):
            assert np.array_equal(wave, alone), f"starting at frame {shift + number * own}"


def test_vocoders_with_odd_hops_are_refused(
    codec: PackedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec.decoder.head.istft, "hop_length", 161)
    with pytest.raises(ConfigError, match=r"640 samples, 161 apart.*even hops"):
        DecodeProgram(codec.decoder)


@pytest.fixture(scope="module")
def packs() -> list[list[int]]:
    """The lengths in steps of the clips of each pack, for 2,000 clips of Emilia's lengths."""
    lengths = [round(seconds * 16000) for seconds in emilia_lengths(2000)]
    stretches = [4 * -(-(-(-n // 160) + 2) // 8) for n in lengths]
    return list(fill_packs_closely(((steps, steps) for steps in stretches), ON_CUDA))


def test_at_most_three_percent_of_packs_is_padding(packs: list[list[int]]) -> None:
    samples = sum(round(seconds * 16000) for seconds in emilia_lengths(2000))
    # The last pack has no other to fill it from.
    share = samples / 320 / (ON_CUDA.pack_steps * (len(packs) - 1) + sum(packs[-1]))
    print(f"{100 * (1 - share):.2f} % padding in {len(packs)} packs")
    assert 0.97 <= share < 1


@given(st.lists(st.integers(1, 128), max_size=80))
def test_packs_keep_every_clip_and_let_none_wait_for_long(units: list[int]) -> None:
    clips = [(number, 4 * count) for number, count in enumerate(units)]
    steps = dict(clips)
    left = set(steps)
    for pack in fill_packs_closely(iter(clips), SHORT):
        assert min(left) == pack[0]
        assert sum(steps[number] for number in pack) <= SHORT.pack_steps
        assert len(pack) <= SHORT.most_clips
        left -= set(pack)
    assert not left


def test_the_identity_names_the_program_and_not_the_graph() -> None:
    plain, pack, graph = (pack_codec(program=each) for each in ("tiles", "pack", "graph"))
    assert plain.identity.options == {"overlap_seconds": 10.0, "depth": 8}
    assert plain.identity.pack_geometry == "rows1024"
    assert pack.identity.pack_geometry == "rows2048-pack"
    assert pack.identity.options["program"] == "pack"
    assert graph.identity == pack.identity


def test_unknown_programs_and_two_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="`program` is `fast`; expected tiles, pack, graph"):
        pack_codec(program="fast")
    found = Group("small_xy")
    config = CodecConfig.from_mapping(found.info["params"])
    with pytest.raises(ConfigError, match="beside `--compile`"):
        assemble(
            config, checkpoint_of(found), device="cpu", compiled=True, options={"program": "pack"}
        )


def test_a_run_in_packs_of_one_shape_says_so_and_has_the_same_codes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", CLIPS[0], 16000)
    found = {}
    for program in ("tiles", "pack"):
        words = ["encode", str(tmp_path / "a.wav"), "-o", str(tmp_path / program)]
        assert run([*words, "--codec-option", f"program={program}"]) == 0
        with np.load(tmp_path / program / "a.npz") as data:
            found[program] = data["codes"], json.loads(str(data["identity"]))
    assert np.array_equal(found["pack"][0], found["tiles"][0])
    assert found["pack"][1]["options"]["program"] == "pack"
    assert "program" not in found["tiles"][1]["options"]
