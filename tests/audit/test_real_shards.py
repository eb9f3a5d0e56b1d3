"""Clean shards of real readers end without findings, whichever are audited together.

The scores are those of whole shards of twelve readers in seven languages, measured once
(`tests/benchmarks/clean_speech.py`); they are judged here as an audit judges them.
"""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.findings import ClipFinding
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.reference import by_shard
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import audit_of, real_run, run_of_speakers, speech_clips

SHARDS = by_shard(speech_clips())


def shards_of(language: str) -> list[str]:
    return [name for name in SHARDS if f"/{language}/asterisk" in name]


def together(*names: str) -> list[ClipFinding]:
    return [clip for name in names for clip in SHARDS[name]]


def without_language(clips: list[ClipFinding]) -> list[ClipFinding]:
    return [replace(clip, language=None) for clip in clips]


def faults(found: Judgement) -> list[str]:
    told = [fault.name for shard in found.shards for fault in shard.faults]
    return told + [group.name for group in found.groups if group.unusual]


@pytest.mark.parametrize("pair", ["IT FR", "ES RU", "FR ES", "EN FR"])
def test_two_clean_shards_of_two_languages_are_no_finding(pair: str) -> None:
    first, second = (shards_of(language) for language in pair.split())
    assert len(first) == len(second) == 3
    for a in first:
        for b in second:
            for clips in (together(a, b), without_language(together(a, b))):
                found = judge(audit_of(clips))
                assert faults(found) == []
                assert found.content == "cannot judge"


@pytest.mark.parametrize("size", [3, 4, 6, 8])
def test_a_few_clean_shards_of_any_readers_are_no_finding(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(8):
        clips = together(*rng.choice(list(SHARDS), size, replace=False))
        assert faults(judge(audit_of(clips))) == []
        assert faults(judge(audit_of(without_language(clips)))) == []


@pytest.mark.parametrize("icc", [0.2, 0.5])
def test_clean_runs_of_whole_real_shards_raise_no_alarm(icc: float) -> None:
    rng = np.random.default_rng(1)
    found = [judge(audit_of(real_run(10, icc, rng))).content for _ in range(25)]
    # At 1 % promised, two in 25 have a chance of 2.6 %; the seed is fixed.
    assert found.count("unusual content") <= 1
    assert set(found) <= {"ok", "unusual content"}


def test_clean_shards_that_scatter_differently_about_one_middle_raise_no_alarm() -> None:
    rng = np.random.default_rng(1)
    runs = [real_run(10, 0.0, rng, about="middle") for _ in range(25)]
    found = [judge(audit_of(clips)).content for clips in runs]
    assert found.count("unusual content") <= 1


def test_a_shard_of_one_speaker_is_not_held_against_shards_of_many() -> None:
    rng = np.random.default_rng(2)
    alarms = {True: 0, False: 0}
    for _ in range(12):
        many = real_run(12, 0.0, rng)
        many = [replace(clip, speaker=f"speaker {clip.row}") for clip in many]
        one = [replace(clip, shard="one") for clip in run_of_speakers(1, 0.6, rng, (1,))]
        for is_known in alarms:
            clips = [*many, *one]
            if not is_known:
                clips = [replace(clip, speaker=None) for clip in clips]
            found = judge(audit_of(clips))
            alarms[is_known] += "one" in {s.shard for s in found.shards if s.faults}
    assert alarms[True] == 0
    assert alarms[False] >= 2
