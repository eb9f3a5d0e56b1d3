"""What a recogniser hears is put down to the clip and the side that it heard."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.audit.findings import ClipAudio, ClipFinding
from pipeline.audit.metrics.heard_text import Recogniser
from pipeline.audit.report.clip_cards import Playback
from pipeline.evaluate.recognised import recognise
from tests.support.audit_simulation import clean_shard, pool
from xy_codec.contract import Waveform


class Listener(Recogniser):
    """Knows English, and hears the number that a waveform begins with."""

    def __init__(self) -> None:
        self.name = "listener"

    def knows(self, language: str | None) -> bool:
        return language == "en"

    def transcribe(self, waveforms: Sequence[Waveform], languages: Sequence[str]) -> list[str]:
        assert set(languages) == {"en"}
        return [f"Number {int(waveform[0])}!" for waveform in waveforms]


class Player(Playback):
    """Original and reconstruction of clip N begin with N and 1000 + N; clip 2 cannot be read."""

    def __init__(self) -> None:
        pass

    def __call__(self, finding: ClipFinding) -> ClipAudio | None:
        number = int(finding.key)
        original, made = (np.full(9, each, np.float32) for each in (number, 1000 + number))
        return None if number == 2 else ClipAudio(original, made, 16000)


def test_each_side_of_each_clip_has_its_own_transcript():
    clip = clean_shard("EN.tar", pool(), np.random.default_rng(0))[0]
    clips = [
        replace(clip, key=str(number), text=f"number {number}", language="en", speaker="anna")
        for number in range(100)
    ]
    clips[3] = replace(clips[3], language="cs")
    clips[4] = replace(clips[4], text=" – ")
    heard = recognise(Listener(), clips, Player(), originals=True)
    assert heard.model == "listener"
    numbers = [number for number in range(100) if number not in (2, 3, 4)]
    for side, first in ((heard.originals, 0), (heard.reconstructions, 1000)):
        assert [each.key for each in side] == [f"EN.tar/{number}" for number in numbers]
        assert [each.text for each in side] == [f"number {first + number}" for number in numbers]
        assert [each.reference for each in side] == [f"number {number}" for number in numbers]
    assert not recognise(Listener(), clips, Player(), originals=False).originals
