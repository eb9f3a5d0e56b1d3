"""A recogniser's errors on reconstructions, against the texts of the clips."""

from collections.abc import Sequence

from pipeline.audit.findings import ClipFinding
from pipeline.audit.metrics.recogniser import Recogniser
from pipeline.audit.metrics.text_errors import normal
from pipeline.audit.report.playback import Playback
from pipeline.evaluate.transcripts import Transcript

# Clips decoded and heard at a time, so that no more of their sound is in memory.
_TOGETHER = 64


def recognise(
    recogniser: Recogniser, clips: Sequence[ClipFinding], play: Playback
) -> tuple[Transcript, ...]:
    """What the recogniser heard in the reconstruction of every clip that has a text.

    Clips of a language that it does not know, or that cannot be read again, are left out.
    """
    known = [clip for clip in clips if recogniser.knows(clip.language) and normal(clip.text or "")]
    found = []
    for first in range(0, len(known), _TOGETHER):
        sounds = [(clip, play(clip)) for clip in known[first : first + _TOGETHER]]
        heard = [(clip, sound) for clip, sound in sounds if sound is not None]
        texts = recogniser.transcribe(
            [sound.reconstruction for _, sound in heard],
            [clip.language or "" for clip, _ in heard],
        )
        found += [
            Transcript(clip.key, clip.speaker or clip.key, normal(clip.text or ""), normal(text))
            for (clip, _), text in zip(heard, texts, strict=True)
        ]
    return tuple(found)
