"""What a recogniser heard while a codec was audited, against the texts of the clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import xxhash

from pipeline.audit.findings import ClipFinding
from pipeline.audit.metrics.heard_text import Recogniser, has_words, normal
from pipeline.evaluate.clip_names import name_of, speaker_of
from pipeline.evaluate.transcripts import Transcript
from xy_codec.contract import Waveform


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in clips that have a text, in a language that the recogniser knows."""

    model: str = ""
    reconstructions: tuple[Transcript, ...] = ()
    originals: tuple[Transcript, ...] = ()


class Remembering(Recogniser):
    """A recogniser that hears a waveform once: originals come again with every codec."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.name = recogniser.name
        self._recogniser = recogniser
        self._texts: dict[tuple[int, str], str] = {}

    def knows(self, language: str | None) -> bool:
        """Whether clips of a language can be heard."""
        return self._recogniser.knows(language)

    def transcribe(self, waveforms: Sequence[Waveform], languages: Sequence[str]) -> list[str]:
        """What is said in clips of 16 kHz, each in its language."""
        hashes = (xxhash.xxh3_128_intdigest(each.tobytes()) for each in waveforms)
        asked = list(zip(hashes, languages, strict=True))
        new = {key: place for place, key in enumerate(asked) if key not in self._texts}
        texts = self._recogniser.transcribe(
            [waveforms[place] for place in new.values()], [language for _, language in new]
        )
        self._texts.update(zip(new, texts, strict=True))
        return [self._texts[key] for key in asked]


def heard_in(model: str, clips: Sequence[ClipFinding]) -> Heard:
    """The transcripts of the clips of which both sides were heard."""
    made: list[Transcript] = []
    given: list[Transcript] = []
    for clip in clips:
        text = normal(clip.text or "")
        if text and clip.heard_original is not None and clip.heard_reconstruction is not None:
            of_clip = partial(Transcript, name_of(clip), speaker_of(clip), text)
            spaced = has_words(clip.language)
            made.append(of_clip(normal(clip.heard_reconstruction), spaced))
            given.append(of_clip(normal(clip.heard_original), spaced))
    return Heard(model, tuple(made), tuple(given))
