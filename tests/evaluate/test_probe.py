"""The probe learns what codes say, only that, and the same however often it is ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.audit.audit import open_run
from pipeline.audit.compare import trial_run
from pipeline.errors import InputError, UsageError
from pipeline.evaluate.probe.clips import SpokenClip, check_apart, read_clips
from pipeline.evaluate.probe.inputs import ProbeInput, codec_input, table_input
from pipeline.evaluate.probe.model import Alphabet
from pipeline.evaluate.probe.plan import ProbePlan
from pipeline.evaluate.probe.result import probe
from pipeline.evaluate.probe.training import Checkpoint, ProbeTraining
from pipeline.evaluate.transcripts import character_error_rate
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.support.shard_maker import pair, write_shard
from xy_codec import load_codec
from xy_codec.codes_shape import CodesShape

LETTERS = "abcde"
FRAMES_A_LETTER = 2
# Two codebooks at 25 frames a second: a letter decides the first, the second is noise.
SHAPE = CodesShape(16000, 16000, 640, 640, (len(LETTERS), 16))
PLAN = ProbePlan(steps=250, learning_rate=1e-3, hidden=64, table_width=16)


def spoken(count: int, seed: int, *, means_something: bool = True) -> list[SpokenClip]:
    random = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        said = _letters(random, int(random.integers(3, 8)))
        shown = said if means_something else _letters(random, len(said))
        codes = np.repeat(shown, FRAMES_A_LETTER)
        steps = np.stack([codes, random.integers(16, size=len(codes))]).astype(np.int16)
        text = "".join(LETTERS[each] for each in said)
        key, audio, speaker = f"{number}@{seed}", 1000 * seed + number, f"speaker {number % 5}"
        clips.append(SpokenClip(key, audio, steps, text, speaker))
    return clips


def _letters(random: np.random.Generator, count: int) -> np.ndarray:
    """Never one twice in a row, which codes alone could not tell from a slow one."""
    return np.cumsum(random.integers(1, len(LETTERS), size=count)) % len(LETTERS)


def error_of(source: ProbeInput, *, means_something: bool = True) -> float:
    train = spoken(120, 1, means_something=means_something)
    test = spoken(40, 2, means_something=means_something)
    return character_error_rate(probe(source, train, test, PLAN).transcripts).estimate


def test_learned_tables_read_codes_that_mean_something():
    assert error_of(table_input(SHAPE)) < 0.3


def test_codes_without_meaning_are_not_read():
    assert error_of(table_input(SHAPE), means_something=False) > 0.6


def test_frozen_embeddings_are_read_and_stay_as_they_are():
    table = np.random.default_rng(0).normal(50, 9, (len(LETTERS), 12)).astype(np.float32)
    source = ProbeInput("a table", 25.0, embed=lambda codes: table[codes[0]])
    before = table.copy()
    assert error_of(source) < 0.3
    assert np.array_equal(table, before)


def test_a_training_that_was_ended_gives_the_weights_of_one_that_was_not(tmp_path: Path):
    clips, plan = spoken(20, 1), ProbePlan(steps=12, learning_rate=1e-3, hidden=8)
    whole = ProbeTraining(table_input(SHAPE), clips, plan)
    whole.run()
    place = Checkpoint(Storage(), str(tmp_path / "probe.pt"))
    ProbeTraining(table_input(SHAPE), clips, plan).run(place, until=7)
    resumed = ProbeTraining(table_input(SHAPE), clips, plan)
    resumed.run(place)
    assert resumed.step == plan.steps
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    with pytest.raises(UsageError, match="other clips"):
        ProbeTraining(table_input(SHAPE), spoken(20, 9), plan).run(place)


def test_clips_with_more_characters_than_steps_are_left_out():
    clips = spoken(8, 1)
    hurried = SpokenClip("hurried", 1, clips[0].steps[:, :2], "abcdeabcdeabcde", "speaker")
    doubled = SpokenClip("doubled", 2, clips[0].steps[:, :1], "aa", "speaker")  # needs a blank
    training = ProbeTraining(table_input(SHAPE), [*clips, hurried, doubled], PLAN)
    assert training.clips == clips


def test_every_clip_comes_once_an_epoch_in_another_order():
    training = ProbeTraining(table_input(SHAPE), spoken(40, 1), PLAN)
    epochs = [
        [
            clip.key
            for step in range(10 * epoch, 10 * epoch + 10)
            for clip in training._batch_of(step)
        ]
        for epoch in range(2)
    ]
    assert len(set(epochs[0])) == len(epochs[0]) == 40
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


def test_a_text_is_what_ctc_leaves_of_its_steps():
    alphabet = Alphabet.of(["ab ba"])
    assert alphabet.characters == " ab"
    space, a, b = 1, 2, 3
    assert alphabet.text([0, a, a, 0, a, b, b, space, space, 0, b, 0]) == "aab b"
    assert alphabet.indices("abx a") == [a, b, space, a]


@pytest.mark.parametrize(
    ("rate_hz", "repeats"), [(12.5, 4), (21.53, 3), (50.0, 1), (75.0, 1), (25.0, 2)]
)
def test_steps_are_repeated_to_fifty_a_second(rate_hz: float, repeats: int):
    assert ProbeInput("", rate_hz).repeats(50.0) == repeats


def test_a_codec_without_a_lookup_gets_tables_and_one_with_it_none():
    assert codec_input(load_codec("fake")).table_sizes == (1024,) * 8
    assert not codec_input(load_codec("xy-nano", device="cpu")).table_sizes


def test_clips_to_learn_and_to_test_on_are_kept_apart():
    clips = spoken(4, 1)
    with pytest.raises(InputError, match=r"1 clip of `--data` is in .* the first is `2`"):
        check_apart(clips, [clips[2], *spoken(2, 5)])
    with pytest.raises(InputError, match="no clip with a text"):
        check_apart([], clips)


def test_tars_that_number_their_clips_anew_have_clips_and_speakers_of_their_own(tmp_path: Path):
    for seed, name in enumerate(("a", "b", "c")):
        write_shard(tmp_path / f"{name}.tar", pair("000", seed=seed, text="ja", speaker=None))
    shards = [str(tmp_path / f"{name}.tar") for name in "abc"]
    output, storage = str(tmp_path / "out"), Storage()
    trial_run(CodecRequest("fake"), shards, output, storage, None)
    run = open_run(storage, output)
    train, test = read_clips(run, storage, shards[:2]), read_clips(run, storage, shards[2:])
    check_apart(train, test)
    assert len({clip.speaker for clip in [*train, *test]}) == 3
    with pytest.raises(InputError, match="the first is `000`"):
        check_apart(train, read_clips(run, storage, shards[1:]))
    with pytest.raises(InputError, match=r"no part of 1 of 2 shards asked for, .*/d\.tar`"):
        read_clips(run, storage, [shards[0], str(tmp_path / "d.tar")])


def test_a_probe_of_other_codes_of_the_same_clips_is_not_taken(tmp_path: Path):
    plan = ProbePlan(steps=2, learning_rate=1e-3, hidden=8)
    place = Checkpoint(Storage(), str(tmp_path / "probe.pt"))
    clips = spoken(8, 1)
    ProbeTraining(table_input(SHAPE), clips, plan).run(place)
    other = [replace(clip, steps=clip.steps[:, ::-1]) for clip in clips]
    with pytest.raises(UsageError, match="other clips, codes"):
        ProbeTraining(table_input(SHAPE), other, plan).run(place)
