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
    `has_words` is False of languages that are written without spaces between words.
    """

    key: str
    speaker: str
    reference: str
    text: str
    has_words: bool = True


def word_error_rate(transcripts: Sequence[Transcript]) -> Interval | None:
    """Errors of words over all words of clips that have words, with bounds by speakers."""
    worded = [each for each in transcripts if each.has_words]
    return _rate(worded, word_errors) if worded else None


def character_error_rate(transcripts: Sequence[Transcript]) -> Interval:
    """Errors of characters over all characters, with bounds by speakers."""
    return _rate(transcripts, character_errors)


def _rate(transcripts: Sequence[Transcript], errors: Callable[[str, str], Errors]) -> Interval:
    found = [errors(each.reference, each.text) for each in transcripts]
    speakers = [each.speaker for each in transcripts]
    return ratio_by_speaker([e.edits for e in found], [e.length for e in found], speakers)
