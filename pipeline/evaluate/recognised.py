"""A recogniser's errors on reconstructions, and on originals, against the texts of the clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.audit.findings import ClipFinding
from pipeline.audit.metrics.heard_text import Recogniser, normal
from pipeline.audit.report.clip_cards import Playback
from pipeline.evaluate.clip_names import name_of, speaker_of
from pipeline.evaluate.transcripts import Transcript
from xy_codec.contract import Waveform

# Clips decoded and heard at a time, so that no more of their sound is in memory.
_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in clips that have a text; originals only where they were asked for."""

    model: str = ""
    reconstructions: tuple[Transcript, ...] = ()
    originals: tuple[Transcript, ...] = ()


def recognise(
    recogniser: Recogniser, clips: Sequence[ClipFinding], play: Playback, *, originals: bool
) -> Heard:
    """What the recogniser hears in every clip that has a text.

    Clips of a language that it does not know, or that cannot be read again, are left out.
    """
    known = [clip for clip in clips if recogniser.knows(clip.language) and normal(clip.text or "")]
    made: list[Transcript] = []
    given: list[Transcript] = []
    for first in range(0, len(known), _TOGETHER):
        sounds = [(clip, play(clip)) for clip in known[first : first + _TOGETHER]]
        heard = [(clip, sound) for clip, sound in sounds if sound is not None]
        spoken = [clip for clip, _ in heard]
        made += _transcripts(recogniser, spoken, [sound.reconstruction for _, sound in heard])
        if originals:
            given += _transcripts(recogniser, spoken, [sound.original for _, sound in heard])
    return Heard(recogniser.name, tuple(made), tuple(given))


def _transcripts(
    recogniser: Recogniser, clips: Sequence[ClipFinding], waveforms: Sequence[Waveform]
) -> list[Transcript]:
    texts = recogniser.transcribe(waveforms, [clip.language or "" for clip in clips])
    return [
        Transcript(name_of(clip), speaker_of(clip), normal(clip.text or ""), normal(text))
        for clip, text in zip(clips, texts, strict=True)
    ]
