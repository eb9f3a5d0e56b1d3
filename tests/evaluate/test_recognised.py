"""What a recogniser hears is put down to the clip and the side that it heard, once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.audit.findings import Scores
from pipeline.audit.metrics.heard_text import Recogniser
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.errors import InputError
from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import EvaluateRequest, _with_common_clips, evaluate
from pipeline.evaluate.recognised import Remembering, heard_in
from pipeline.evaluate.system import System
from pipeline.worker.codec_request import CodecRequest
from tests.support.audit_simulation import clean_shard, pool
from tests.support.audit_simulation import clip as clip_of
from tests.support.places import SPEECH
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec, Encoded, Waveform
from xy_codec.fake import FakeCodec


class Listener(Recogniser):
    """Knows English, and hears the number that a waveform begins with."""

    def __init__(self) -> None:
        self.name = "listener"
        self.heard = 0

    def knows(self, language: str | None) -> bool:
        return language == "en"

    def transcribe(self, waveforms: Sequence[Waveform], languages: Sequence[str]) -> list[str]:
        self.heard += len(waveforms)
        return [
            f"{language} {waveform[0]:.6f}"
            for waveform, language in zip(waveforms, languages, strict=True)
        ]


def test_each_side_of_each_clip_has_its_own_transcript():
    clip = clean_shard("EN.tar", pool(), np.random.default_rng(0))[0]
    clip = replace(clip, language="en", speaker="anna")
    clips = [
        replace(
            clip,
            key=str(number),
            text=f"number {number}",
            heard_original=f"Number {number}!",
            heard_reconstruction=f"Number {1000 + number}.",
        )
        for number in range(100)
    ]
    clips[2] = replace(clips[2], heard_reconstruction=None)
    clips[3] = replace(clips[3], heard_original=None, heard_reconstruction=None)
    clips[4] = replace(clips[4], text=" – ")
    heard = heard_in("listener", clips)
    assert heard.model == "listener"
    numbers = [number for number in range(100) if number not in (2, 3, 4)]
    for side, first in ((heard.originals, 0), (heard.reconstructions, 1000)):
        assert [each.key for each in side] == [f"EN.tar/{number}" for number in numbers]
        assert [each.text for each in side] == [f"number {first + number}" for number in numbers]
        assert [each.reference for each in side] == [f"number {number}" for number in numbers]


def test_a_sound_is_heard_once_in_each_language():
    listener = Listener()
    remembering = Remembering(listener)
    one, other = (np.full(9, each, np.float32) for each in (1, 2))
    assert remembering.transcribe([one, other, one], ["en", "en", "en"]) == [
        "en 1.000000",
        "en 2.000000",
        "en 1.000000",
    ]
    assert remembering.transcribe([other, one], ["en", "fr"]) == ["en 2.000000", "fr 1.000000"]
    assert listener.heard == 3


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The clips of each call of the fake codec's decoder."""
    counts: list[int] = []
    original = FakeCodec.decode_encoded

    def count(self: Codec, clips: Sequence[Encoded], **options: object) -> list[Waveform]:
        counts.append(len(clips))
        return original(self, clips, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeCodec, "decode_encoded", count)
    return counts


def test_clips_are_heard_as_the_audit_decoded_them(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    listener = Listener()
    monkeypatch.setattr(evaluation, "load_recogniser", lambda *_: listener)
    monkeypatch.setattr(evaluation, "_MOST_SOUNDS", 0)
    request = EvaluateRequest(
        codecs={
            "whole": CodecRequest("fake", device="cpu"),
            "half": CodecRequest("fake", device="cpu", options=("depth=4",)),
        },
        runs=(),
        data=(str(SPEECH / "Emilia/EN/EN-B000000.tar"),),
        output=str(tmp_path),
        sample=SamplePlan(4),
        asr_model="listener",
        speed_seconds=0,
        processes=0,
        device="cpu",
        quiet=True,
    )
    whole, half = evaluate(request).systems
    assert whole.heard.originals == half.heard.originals
    assert [len(system.heard.reconstructions) for system in (whole, half)] == [4, 4]
    assert listener.heard == 4 + 2 * 4
    assert sum(decoded) == 2 * 4


def with_clips(name: str, *scores: Scores) -> System:
    clips = [clip_of("EN.tar", number, each) for number, each in enumerate(scores)]
    shape = CodesShape(16000, 16000, 320, 320, (16,))
    return System(name, is_run=False, codec={}, shape=shape, clips=tuple(clips))


def test_a_codec_is_not_spared_the_clips_that_it_makes_nothing_of():
    whole = with_clips("whole", *(Scores(sim=0.9, stoi=0.5), Scores(sim=0.1, stoi=0.5)))
    spared = with_clips("spared", *(Scores(sim=0.8, stoi=0.5), Scores(stoi=0.5)))
    mute = with_clips("mute", *(Scores(stoi=0.1), Scores(stoi=0.1)))
    found = _with_common_clips([whole, spared, mute]).systems
    assert [each.figures["sim"].estimate for each in found[:2]] == [0.9, 0.8]
    assert "sim" not in found[2].figures
    assert [each.figures["stoi"].num_values for each in found] == [2, 2, 2]
    assert "sim" not in found[0].why_missing()


def test_a_codec_that_took_no_clip_is_no_finding():
    with pytest.raises(InputError, match="no clip in common"):
        _with_common_clips([with_clips("whole", Scores(sim=0.9)), with_clips("none")])


def test_words_are_counted_where_a_language_has_them():
    clip = replace(clean_shard("EN.tar", pool(), np.random.default_rng(0))[0], speaker=None)
    said = (("en", "two words", "two birds"), ("ZH", "我去北京", "我去北平"))
    clips = [
        replace(
            clip,
            key=language,
            language=language,
            text=text,
            heard_original=text,
            heard_reconstruction=heard,
        )
        for language, text, heard in said
    ]
    both = replace(with_clips("both"), clips=tuple(clips), heard=heard_in("listener", clips))
    figures = _with_common_clips([both]).systems[0].figures
    # One of two words; taken for a word, the second sentence would make it two of three.
    assert (figures["asr_wer"].estimate, figures["asr_wer"].num_values) == (0.5, 1)
    assert figures["asr_cer"].estimate == (2 + 1) / (8 + 4)
    assert both.why_missing()["asr_wer"] == "1 of 2 clips, mostly `no_words`"
    chinese = replace(both, heard=heard_in("listener", clips[1:]))
    figures = _with_common_clips([chinese]).systems[0].figures
    assert set(figures) >= {"asr_cer"}
    assert "asr_wer" not in figures
