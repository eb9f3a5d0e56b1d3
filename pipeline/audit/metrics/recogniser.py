"""What is said in a clip, by a Whisper of the user's choice in `transformers`: greedy, in batches.

The language is forced and the same for both sides of a pair. Nothing is conditioned on the text
before, so what is heard of a clip does not depend on others.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

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
