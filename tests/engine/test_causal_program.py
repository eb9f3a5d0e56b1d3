"""Packs of one shape of causal codecs: codes of tiles and of the reference, a clip's own bits."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import moss_case, secousti_case
from tests.support.full_memory import fill_memory_each_second_time
from tests.support.golden_case import inputs
from xy_codec.contract import Encoded
from xy_codec.engine.causal import BLOCK_FRAMES, SegmentJob, segment_jobs
from xy_codec.engine.causal_program import fill_packs_to_their_ends
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.threads import threads
from xy_codec.errors import ConfigError
from xy_codec.fake import FakeCodec
from xy_codec.moss import codec as moss
from xy_codec.secousti import codec as secousti

RNG = np.random.default_rng(50)
KINDS: dict[str, Callable[[str], moss.MossCodec | secousti.SecoustiCodec]] = {
    "moss": lambda program: moss_case.small_codec("small4w", program),
    "secousti_21": lambda program: secousti_case.codec_of(secousti_case.Group("small_21"), program),
    "secousti_86": lambda program: secousti_case.codec_of(secousti_case.Group("small_86"), program),
}


class Made:
    """A codec in packs of one shape, clips for it, and what each gives alone."""

    def __init__(self, kind: str) -> None:
        self.codec, self.tiles = KINDS[kind]("pack"), KINDS[kind]("tiles")
        shape = self.codec.shape
        hop, pack = shape.samples_per_frame, self.codec.geometry.pack_steps
        # No frame, edges of frames and blocks, lengths between them, more than two packs.
        frames = [2, 31, 32, 33, 64, *RNG.integers(2, 150, 8).tolist(), 2 * pack + 70]
        lengths = [0, shape.min_samples - 1, *(n * hop + int(RNG.integers(0, hop)) for n in frames)]
        self.clips = [
            (RNG.standard_normal(n) * RNG.uniform(0.01, 0.3)).astype(np.float32) for n in lengths
        ]
        self.alone = [self.codec.encode_with_side([clip])[0] for clip in self.clips]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param)


def same(left: Encoded, right: Encoded) -> bool:
    if not np.array_equal(left.codes, right.codes):
        return False
    if left.side is None or right.side is None:
        return left.side is right.side
    return np.array_equal(left.side, right.side)


def test_codes_and_side_values_are_those_of_tiles(made: Made) -> None:
    packs = made.codec.counters.packs_run
    together = made.codec.encode_with_side(made.clips)
    assert made.codec.counters.packs_run - packs >= 3
    for mine, theirs in zip(together, made.tiles.encode_with_side(made.clips), strict=True):
        assert same(mine, theirs)


def test_codes_do_not_depend_on_company_cuts_or_threads(made: Made) -> None:
    rng = np.random.default_rng(51)
    for _ in range(4):
        chosen = [*rng.integers(0, len(made.clips), 12), len(made.clips) - 1]
        rng.shuffle(chosen)
        found = made.codec.encode_with_side([made.clips[i] for i in chosen])
        assert all(same(one, made.alone[i]) for i, one in zip(chosen, found, strict=True))
    with threads(2):
        found = made.codec.encode_with_side(made.clips[:10])
    assert all(same(*pair) for pair in zip(found, made.alone, strict=False))


def test_what_is_quantised_has_the_same_bits_at_every_place(made: Made) -> None:
    codec, pack = made.codec, made.codec.geometry.pack_steps
    hop = codec.shape.samples_per_frame
    seen: list[torch.Tensor] = []
    quantised = (
        codec.model.quantizer.input_proj
        if isinstance(codec, moss.MossCodec)
        else codec.model.semantic_mean
    )
    assert quantised is not None
    hook = quantised.register_forward_hook(lambda _module, _inputs, out: seen.append(out.clone()))
    probe = (RNG.standard_normal(75 * hop) * 0.1).astype(np.float32)
    try:
        codec.encode([probe])
        expected = seen[0][:75]
        # Up to a place where the probe is cut, and its rest is the first of the next pack.
        for shift in (2, 7, 31, 32, 33, 129, pack - 75, pack - 74, pack - 40, pack - 32, pack - 9):
            seen.clear()
            codec.encode([np.full(shift * hop, 0.01, np.float32), probe])
            room = pack - shift
            first = 75 if room >= 75 else room // BLOCK_FRAMES * BLOCK_FRAMES
            parts = [pack_of[start:][:count] for pack_of, start, count in zip(
                seen, (shift, 0), (first, 75 - first), strict=False
            )]  # fmt: skip
            assert torch.equal(torch.cat(parts), expected), f"starting at frame {shift}"
    finally:
        hook.remove()


def test_streams_of_one_codec_do_not_disturb_each_other(made: Made) -> None:
    long, other = made.clips[-1], made.clips[-2]
    streams = [made.codec.encode_stream([(0, long)]), made.codec.encode_stream([(1, other)] * 9)]
    turns = itertools.zip_longest(*streams)
    found = [each for turn in turns for each in turn if each is not None]
    assert len(found) == 10
    assert all(same(one, made.alone[-1 - tag]) for tag, one in found)


def test_a_pack_that_ran_out_of_memory_is_run_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = fill_memory_each_second_time(made.codec, monkeypatch)
    (found,) = made.codec.encode_with_side(made.clips[-1:])
    assert next(attempts) >= 6
    assert same(found, made.alone[-1])


def test_what_a_long_clip_takes_from_pack_to_pack_lies_in_two_buffers(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = made.codec._launch
    kept: list[torch.Tensor] = []

    def note_buffers(jobs: Any) -> Any:
        pack = launch(jobs)
        # Kept, so that no address is used again by chance.
        kept.extend(each for job in jobs for each in job.segment.memory.carried.values())
        return pack

    monkeypatch.setattr(made.codec, "_launch", note_buffers)
    packs = made.codec.counters.packs_run
    found = made.codec.encode_with_side([made.clips[-1], made.clips[-2], made.clips[-1]])
    assert made.codec.counters.packs_run - packs >= 4
    assert all(same(one, made.alone[i]) for i, one in zip((-1, -2, -1), found, strict=True))
    assert len(kept) >= 6
    assert len({each.data_ptr() for each in kept}) <= 2


def test_the_identity_names_the_program_and_not_the_graph(made: Made) -> None:
    assert "program" not in made.tiles.identity.options
    assert made.codec.identity.options["program"] == "pack"
    assert "-pack" in made.codec.identity.pack_geometry
    assert "-pack" not in made.tiles.identity.pack_geometry


def test_a_graph_has_the_identity_of_its_program() -> None:
    codec, graph = (moss_case.small_codec("small4w", program) for program in ("pack", "graph"))
    assert graph.identity == codec.identity


def test_unknown_programs_are_refused() -> None:
    with pytest.raises(ConfigError, match="`program` is `fast`; expected tiles, pack, graph"):
        moss_case.small_codec("small4w", "fast")


@pytest.mark.parametrize("name", ["small3", "small4", "small4w"])
def test_small_models_of_moss_give_the_recorded_codes_and_waveforms(name: str) -> None:
    group, codec = moss_case.Group(name), moss_case.small_codec(name, "pack")
    cases = group.cases("cases")
    found = codec.encode([wave for case in cases for wave in inputs(group.input(case))])
    for case, codes in zip(cases, found, strict=True):
        wrong, ties = moss_case.wrong_codes(group.recorded(case), codes)
        print(f"{name} {case}: {ties} ties")
        assert wrong == 0
    recorded = [group.recorded(case) for case in (*cases, *group.cases("decode_cases"))]
    wanted = [(each, depth) for each in recorded for depth in moss_case.recorded_depths(each)]
    coded = [each["codes"][: depth or None].astype(np.int16) for each, depth in wanted]
    for (expected, depth), wave in zip(wanted, codec.decode(coded), strict=True):
        assert moss_case.wave_error(expected, wave, depth) < 5e-5


@pytest.mark.parametrize("name", ["small_21", "small_86"])
def test_small_models_of_secousti_give_the_recorded_codes_and_side_values(name: str) -> None:
    group = secousti_case.Group(name)
    codec, found = secousti_case.codec_of(group, "pack"), secousti_case.Differences()
    cases = group.cases("cases")
    waves = [secousti_case.wave_of(group.info["cases"][case]) for case in cases]
    for case, (codes, side) in zip(cases, codec.encode_with_side(waves), strict=True):
        expected = group.recorded(case)
        found.add_tokens(case, expected, codes)
        assert side is not None
        found.note("state", float(np.abs(side - expected["gru"]).max()))
    assert (found.wrong, found.ties, found.too_large()) == (0, [], {})


# Codes of one frame to more than two packs, of every depth.
CODED = [
    RNG.integers(0, 1024, (RNG.integers(1, 33), frames)).astype(np.int16)
    for frames in (*RNG.integers(1, 90, 12), 0, 1, 2, 31, 32, 33, 1100)
]


def test_samples_of_moss_do_not_depend_on_company_cuts_or_threads() -> None:
    codec = moss_case.small_codec("small4w", "pack")
    alone = [codec.decode([codes])[0] for codes in CODED]
    for mine, theirs in zip(alone, moss_case.small_codec("small4w").decode(CODED), strict=True):
        assert np.array_equal(mine, theirs)
    rng = np.random.default_rng(52)
    for _ in range(2):
        chosen = rng.permutation(len(CODED))
        for i, wave in zip(chosen, codec.decode([CODED[i] for i in chosen]), strict=True):
            assert np.array_equal(wave, alone[i])
    with threads(2):
        together = codec.decode(CODED[:9])
    assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=False))


PACKS = Geometry(256, 256, clip_steps=1, program="pack", steps_a_clip=32)


def jobs_of(lengths: list[int]) -> list[SegmentJob]:
    shape = replace(FakeCodec().shape, samples_per_frame=1, padding_samples=0, min_samples=1)
    return [
        job
        for number, frames in enumerate(lengths)
        for job in segment_jobs(number, np.zeros(frames, np.float32), shape, BLOCK_FRAMES << 20)
    ]


@given(st.lists(st.integers(0, 900), max_size=40))
def test_packs_hold_every_frame_once_and_at_most_one_clip_goes_across(lengths: list[int]) -> None:
    jobs = jobs_of(lengths)
    packs = list(fill_packs_to_their_ends(((job, job.frames) for job in jobs), PACKS))
    came = [job for pack in packs for job in pack]
    for number, frames in enumerate(lengths):
        own = [job.segment for job in came if job.clip.tag == number]
        ends = [0, *itertools.accumulate(each.frames for each in own)]
        assert [each.first for each in own] == ends[:-1]
        assert ends[-1] == frames
        assert [each.is_last for each in own] == [False] * (len(own) - 1) + [True] * bool(own)
        assert all(job.clip.jobs_left == len(own) for job in came if job.clip.tag == number)
    for pack in packs:
        frames = sum(job.frames for job in pack)
        assert frames <= PACKS.pack_steps
        assert len(pack) <= PACKS.most_clips
        if pack is not packs[-1] and len(pack) < PACKS.most_clips:
            assert frames > PACKS.pack_steps - BLOCK_FRAMES
        first, *others = (job.segment for job in pack)
        assert all(each.first == 0 for each in others)
        assert all(job.segment.is_last for job in pack[:-1])
        assert first.first % BLOCK_FRAMES == 0


@pytest.mark.parametrize("module", [moss, secousti])
def test_a_pack_on_a_gpu_is_one_tile_with_room_for_short_clips(module: Any) -> None:
    geometry = module.CUDA.with_program("pack")
    assert geometry.pack_steps == geometry.tile_steps == module.CUDA.pack_steps
    assert geometry.most_clips >= 64
    assert not geometry.pack_steps % BLOCK_FRAMES
