"""Decoding in packs of one shape: waveforms of the reference and of tiles, a clip's own bits."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.full_memory import fill_memory_each_second_time
from tests.support.secousti_case import Differences, Group, codec_of, compare_wave, complete
from xy_codec.contract import CodedClip
from xy_codec.engine.causal_program import fill_packs_to_their_ends
from xy_codec.engine.causal_stream import coded_job
from xy_codec.engine.geometry import Geometry
from xy_codec.secousti import codec as secousti
from xy_codec.secousti.codec import SecoustiCodec
from xy_codec.secousti.config import HOP_SAMPLES
from xy_codec.secousti.decode_program import SoundInputs, lay_in_tiles
from xy_codec.secousti.released import released_config
from xy_codec.secousti.vocoder_tile import CONTEXT_FRAMES, EDGE_FRAMES

RNG = np.random.default_rng(60)
# One token, edges of blocks, no token, lengths between, more than two packs of 512.
LENGTHS = [1, 2, 31, 33, 64, 0, *RNG.integers(3, 150, 4).tolist(), 1100]


class Made:
    """A codec in packs of one shape, clips for it, and what each gives alone."""

    def __init__(self, name: str) -> None:
        self.codec, self.tiles = (codec_of(Group(name), each) for each in ("pack", "tiles"))
        sizes = self.codec.side_sizes
        # Side values or vectors, keys or none.
        self.clips = [
            CodedClip(
                RNG.integers(0, 6561, (1, frames)).astype(np.int16),
                (0.3 * RNG.standard_normal(sizes[number % 2])).astype(np.float32),
                None if number % 3 == 0 else f"clip {number}",
            )
            for number, frames in enumerate(LENGTHS)
        ]
        self.alone = [decode(self.codec, [clip])[0] for clip in self.clips]


@pytest.fixture(scope="module", params=["small_21", "small_86"])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param)


def decode(codec: SecoustiCodec, clips: list[CodedClip]) -> list[np.ndarray]:
    codes, sides, keys = zip(*clips, strict=True)
    return codec.decode(list(codes), side=list(sides), keys=list(keys))


def all_equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["small_21", "small_86"])
def test_small_models_give_the_recorded_waveforms(name: str) -> None:
    group, found = complete(name), Differences()
    codec = codec_of(group, "pack")
    cases = [*group.cases("cases"), *group.cases("decode_cases")]
    recorded = [group.recorded(case) for case in cases]
    coded = [(each["tokens"].astype(np.int16)[None], each["gru"]) for each in recorded]
    keys = [f"{name}/{case}" for case in cases]
    for wave_name, seeds in (("wav", [None] * len(cases)), ("wav_noise", keys)):
        clips = [CodedClip(*each, key) for each, key in zip(coded, seeds, strict=True)]
        for expected, wave in zip(recorded, decode(codec, clips), strict=True):
            compare_wave(wave, expected, wave_name, found, "wave")
    assert len(cases) >= 4
    assert found.too_large() == {}


def test_samples_are_those_of_tiles(made: Made) -> None:
    packs = made.codec.counters.packs_run
    together = decode(made.codec, made.clips)
    assert made.codec.counters.packs_run - packs >= 3
    assert all_equal(together, decode(made.tiles, made.clips))


def test_samples_do_not_depend_on_company_or_cuts(made: Made) -> None:
    rng = np.random.default_rng(61)
    for _ in range(2):
        chosen = rng.permutation(len(made.clips))
        found = decode(made.codec, [made.clips[i] for i in chosen])
        assert all_equal(found, [made.alone[i] for i in chosen])


def test_samples_have_the_same_bits_at_every_place(made: Made) -> None:
    probe = CodedClip(RNG.integers(0, 6561, (1, 75)).astype(np.int16), made.clips[0].side, "probe")
    (alone,) = decode(made.codec, [probe])
    # Over the ends of tiles and of the pack, behind which the probe's samples may have to wait.
    for shift in (1, 33, 61, 64, 120, 139, 437, 438, 480, 511):
        filler = made.clips[-1]._replace(codes=made.clips[-1].codes[:, :shift])
        assert np.array_equal(decode(made.codec, [filler, probe])[1], alone), shift


def test_what_is_not_finite_stays_in_its_clip(made: Made) -> None:
    chosen = [7, 8, 9]
    loud = made.clips[4]._replace(side=np.full(made.codec.side_sizes[1], 3e38, np.float32))
    clips = [each for i in chosen for each in (loud, made.clips[i])]
    found = decode(made.codec, clips)
    assert not np.isfinite(found[0]).all()
    assert all_equal(found[1::2], [made.alone[i] for i in chosen])


def test_a_pack_that_ran_out_of_memory_is_run_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = fill_memory_each_second_time(made.codec, monkeypatch)
    assert all_equal(decode(made.codec, made.clips[-3:]), made.alone[-3:])
    assert next(attempts) >= 6


class Shape(NamedTuple):
    geometry: Geometry
    stride: int
    tile_frames: int


SHAPES = [
    Shape(geometry.with_program("pack"), stride, frames)
    for geometry, frames in (
        (secousti.CPU, secousti.CPU_VOCODER_FRAMES),
        (secousti.CUDA, secousti.CUDA_VOCODER_FRAMES),
    )
    for stride in (1, 2)
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@given(data=st.data())
def test_tiles_hold_every_frame_once_with_all_that_its_samples_depend_on(
    shape: Shape, data: st.DataObject
) -> None:
    geometry = shape.geometry
    lengths = data.draw(st.lists(st.integers(1, 3 * geometry.pack_steps // 2), max_size=40))
    inputs = SoundInputs(geometry, released_config(shape.stride), np.asarray, shape.tile_frames)
    rate, heard = inputs.token_frames, [0] * len(lengths)
    jobs = [
        (job, job.frames)
        for number, frames in enumerate(lengths)
        for job in [coded_job(
            CodedClip(np.full((1, frames), number, np.int16)),
            np.empty(frames * rate * HOP_SAMPLES, np.float32), HOP_SAMPLES,
        )]
    ]  # fmt: skip
    for pack in fill_packs_to_their_ends(jobs, geometry):
        spans, used = [inputs.heard(job) for job in pack], 0
        for stretch in lay_in_tiles(spans, inputs.num_tiles, inputs.tile_frames):
            clip, whole = (
                int(pack[stretch.number].own_codes[0, 0]),
                spans[stretch.number].num_frames,
            )
            assert stretch.start == heard[clip]
            heard[clip] += stretch.length
            assert stretch.lead == min(stretch.start, CONTEXT_FRAMES) + EDGE_FRAMES
            behind = min(whole - heard[clip], CONTEXT_FRAMES)
            assert stretch.trail - EDGE_FRAMES >= behind
            assert stretch.row - stretch.lead >= used
            used = stretch.row + stretch.length + stretch.trail
            first = (stretch.row - stretch.lead) // inputs.tile_frames
            assert (used - 1) // inputs.tile_frames == first < inputs.num_tiles
    assert heard == [frames * rate for frames in lengths]
