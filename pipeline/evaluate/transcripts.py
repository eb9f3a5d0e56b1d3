"""What was said in clips and what was written down, by the probe or by a recogniser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.audit.judge.inference import Interval
from pipeline.audit.metrics.heard_text import Errors, character_errors, word_errors
from pipeline.evaluate.intervals import ratio_by_speaker


@dataclass(frozen=True, slots=True)
class Transcript:
    """One clip: the normal text that is said in it, and the one that was written.

    `key` names the clip in whatever run it was heard; keys of a corpus may come again in each tar.
    """

    key: str
    speaker: str
    reference: str
    text: str


def word_error_rate(transcripts: Sequence[Transcript]) -> Interval:
    """Errors of words over all words, with bounds by speakers."""
    return _rate(transcripts, word_errors)


def character_error_rate(transcripts: Sequence[Transcript]) -> Interval:
    """Errors of characters over all characters, with bounds by speakers."""
    return _rate(transcripts, character_errors)


def _rate(transcripts: Sequence[Transcript], errors: Callable[[str, str], Errors]) -> Interval:
    found = [errors(each.reference, each.text) for each in transcripts]
    speakers = [each.speaker for each in transcripts]
    return ratio_by_speaker([e.edits for e in found], [e.length for e in found], speakers)
