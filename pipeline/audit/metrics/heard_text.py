"""What a Whisper hears in a clip, and its errors against the clip's text: words and characters.

The recogniser is of the user's choice, in `transformers`: greedy, in batches. The language is
forced and the same for both sides of a pair. Nothing is conditioned on the text before, so what is
heard of a clip does not depend on others.

Texts are made normal first: NFKC, case folded, everything that is no letter, digit or mark of one
is a space, runs of spaces are one. Numbers and abbreviations stay as they are written, on both
sides of a pair, so they do not move what a reconstruction adds to its original.
"""

import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.audit.findings import TEXT_METRICS
from pipeline.audit.metrics.reasons import Reason
from pipeline.errors import UsageError
from xy_codec.contract import Waveform
from xy_codec.torchaudio_import import import_torchaudio

RATE_HZ = 16000
# Whisper hears half a minute at a time; a longer clip is cut there.
_WINDOW = 30 * RATE_HZ
_BATCH = 16
# Its decoder has room for so many tokens. A short clip is given fewer: where the model repeats
# itself, it stops there.
_MOST_TOKENS, _TOKENS_A_SECOND = 224, 24
# Start, language, task and "no times" stand before them.
_PROMPT_TOKENS = 4
# Scores, and the reasons of those that are missing.
TextScores = tuple[dict[str, float], dict[str, str]]
# Written without spaces between words: only their characters are counted.
WITHOUT_WORDS = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


class Recogniser:
    """A Whisper with the languages it knows; on the GPU in half precision."""

    def __init__(self, model: Any, processor: Any, name: str, device: str) -> None:
        import torch

        self._dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._model = model.eval().to(device, self._dtype)
        self._processor = processor
        self._device = device
        self.name = name
        known = getattr(model.generation_config, "lang_to_id", None) or {"<|en|>": 0}
        self._is_multilingual = len(known) > 1
        self._languages = frozenset(code.strip("<|>") for code in known)

    def knows(self, language: str | None) -> bool:
        """Whether clips of a language, by its ISO 639-1 code, can be heard."""
        return language is not None and language.lower() in self._languages

    def transcribe(self, waveforms: Sequence[Waveform], languages: Sequence[str]) -> list[str]:
        """What is said in clips of 16 kHz, each in its language."""
        texts = [""] * len(waveforms)
        windows = [
            (number, waveform[start : start + _WINDOW])
            for number, waveform in enumerate(waveforms)
            for start in range(0, max(len(waveform), 1), _WINDOW)
        ]
        # Clips of one length have about as many tokens, and a batch ends with its longest.
        order = sorted(range(len(windows)), key=lambda each: len(windows[each][1]))
        heard: dict[int, str] = {}
        for start in range(0, len(order), _BATCH):
            picked = order[start : start + _BATCH]
            found = self._batch(
                [windows[each][1] for each in picked],
                [languages[windows[each][0]].lower() for each in picked],
            )
            heard |= dict(zip(picked, found, strict=True))
        for place, (number, _) in enumerate(windows):
            texts[number] = f"{texts[number]} {heard[place]}".strip()
        return texts

    def _batch(self, waveforms: Sequence[Waveform], languages: list[str]) -> Iterator[str]:
        import torch

        inputs = self._processor(
            [np.asarray(each, np.float32) for each in waveforms],
            sampling_rate=RATE_HZ,
            return_tensors="pt",
            return_attention_mask=True,
        )
        seconds = max(map(len, waveforms)) / RATE_HZ
        most = min(_MOST_TOKENS, round(_TOKENS_A_SECOND * (1 + seconds)))
        said = {"language": languages, "task": "transcribe"} if self._is_multilingual else {}
        with torch.inference_mode():
            tokens = self._model.generate(
                inputs.input_features.to(self._device, self._dtype),
                attention_mask=inputs.attention_mask.to(self._device),
                num_beams=1,
                do_sample=False,
                return_timestamps=False,
                max_length=_PROMPT_TOKENS + most,
                **said,
            )
        yield from self._processor.batch_decode(tokens, skip_special_tokens=True)


def load_recogniser(source: str, device: str = "auto") -> Recogniser:
    """The Whisper in a folder or of a name that `transformers` finds."""
    import_torchaudio()  # transformers imports it too, and fails where it cannot be loaded whole
    try:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise UsageError(
            f"`--asr-model {source}` needs transformers, which is not installed; expected the "
            "extra `codecs`. Install `xytok[codecs]`, or leave the option out"
        ) from error
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    disable_progress_bar()
    try:
        model = WhisperForConditionalGeneration.from_pretrained(source)
        processor = WhisperProcessor.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"`--asr-model {source}` cannot be loaded ({error}); expected a folder or a name of a "
            "Whisper, such as `openai/whisper-large-v3`. Check the path, or leave the option out"
        ) from error
    return Recogniser(model, processor, source, device)


@dataclass(frozen=True, slots=True)
class Errors:
    """The fewest edits that turn a text of `length` words or characters into another."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        """Edits a unit, at most 1: a recogniser that repeats itself counts as all wrong."""
        return min(self.edits / self.length, 1.0) if self.length else float("nan")


def normal(text: str) -> str:
    """The letters and digits of a text, in one case, with single spaces between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    marks = {each for each in folded if unicodedata.category(each)[0] == "M"}
    kept = (each if each.isalnum() or each in marks else " " for each in folded)
    return " ".join("".join(kept).split())


def has_words(language: str | None) -> bool:
    """Whether a language is written with spaces between its words; any that is not known is."""
    return (language or "").lower() not in WITHOUT_WORDS


def word_errors(reference: str, text: str) -> Errors:
    """The errors of words in two normal texts."""
    words = reference.split()
    return Errors(edits(words, text.split()), len(words))


def character_errors(reference: str, text: str) -> Errors:
    """The errors of characters in two normal texts; spaces between words do not count."""
    reference, text = reference.replace(" ", ""), text.replace(" ", "")
    return Errors(edits(reference, text), len(reference))


def text_scores(text: str | None, language: str, original: str, reconstruction: str) -> TextScores:
    """How much more of a clip's text is lost in what was heard of its reconstruction.

    The text of a corpus is often a recogniser's own: what its errors are in the original says
    little of the codec, what the reconstruction adds to them does.
    """
    known, *heard = (normal(each) for each in (text or "", original, reconstruction))
    if not known:
        return {}, dict.fromkeys(TEXT_METRICS, Reason.NO_TEXT.value)
    reasons: dict[str, str] = {}
    before, after = (character_errors(known, each).rate for each in heard)
    found = {"cer_original": before, "cer_reconstruction": after, "cer_increase": after - before}
    if not has_words(language):
        names = ("wer_original", "wer_reconstruction", "wer_increase")
        reasons |= dict.fromkeys(names, Reason.NO_WORDS.value)
    else:
        words, more = (word_errors(known, each).rate for each in heard)
        found |= {"wer_original": words, "wer_reconstruction": more, "wer_increase": more - words}
    if heard[0]:
        found["text_rate_change"] = len(heard[1]) / len(heard[0]) - 1
    else:
        reasons["text_rate_change"] = Reason.NO_UTTERANCE.value
    return found, reasons


def edits(reference: Sequence[Hashable], text: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and replacements between two sequences."""
    numbers: dict[Hashable, int] = {}
    left, right = (
        np.array([numbers.setdefault(each, len(numbers)) for each in side], np.int64)
        for side in (reference, text)
    )
    places = np.arange(len(right) + 1)
    row = places.copy()
    for wanted in left:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + (right != wanted))
        # An insertion costs one a place: the best of all places before, each with its distance.
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])
