"""Clips of causal codecs are cut into segments, which cover each clip once and in order."""

import numpy as np

from xy_codec.codes_shape import CodesShape
from xy_codec.engine.causal import coded_segments, segment_jobs

SHAPE = CodesShape(16000, 16000, 100, 100, (8,), padding_samples=99, min_samples=150)


def test_the_jobs_of_a_clip_cover_its_frames_once() -> None:
    waveform = np.zeros(15_001, np.float32)
    jobs = segment_jobs("a", waveform, SHAPE, 64)
    assert [(job.first_frame, job.num_kept) for job in jobs] == [(0, 64), (64, 64), (128, 23)]
    assert {id(job.clip) for job in jobs} == {id(jobs[0].clip)}
    assert (jobs[0].clip.jobs_left, jobs[0].clip.codes.shape) == (3, (1, 151))
    assert [job.segment.is_last for job in jobs] == [False, False, True]
    assert all(job.samples is waveform for job in jobs)
    assert segment_jobs("short", waveform[:149], SHAPE, 64) == []


def test_the_segments_of_codes_are_the_codes_in_order() -> None:
    first, second = np.arange(130)[None], np.arange(200, 210)[None]
    parts = list(coded_segments([(3, first), (5, second)], 64))
    assert [(part.position, frames) for part, frames in parts] == [
        (3, 64),
        (3, 64),
        (3, 2),
        (5, 10),
    ]
    joined = np.concatenate([part.codes for part, _ in parts], axis=1)
    assert np.array_equal(joined, np.concatenate([first, second], axis=1))
    assert len({id(part.segment.memory) for part, _ in parts}) == 2
