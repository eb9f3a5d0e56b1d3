"""Shards of real speech with exact transcripts, from a game's voices that Debian packages.

`fillets-ng-data-cs` has the recordings, `fillets-ng-data` the scripts. Every level has its own
dialogue, so shards to train on and shards to test on share no sentence of a level.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from xy_codec.training.nano_speech.fetch import fetch_package
from xy_codec.training.nano_speech.shards import (
    SHARD_HZ,
    SpeechClip,
    read_recording,
    trim_silence,
    write_shard,
)

_DIALOGUE = re.compile(r'dialogId\("([^"]+)".*?\)\s*dialogStr\("((?:[^"\\]|\\.)*)"\)', re.DOTALL)
_LONGEST_SECONDS = 5.0
_SHARDS = 4


def write_transcribed_shards(folder: Path) -> tuple[list[Path], list[Path]]:
    """The shards to train on and those to test on, about an hour and a fifth of one."""
    train = [folder / "train" / f"fillets-cs-{number}.tar" for number in range(_SHARDS)]
    test = [folder / "test" / "fillets-cs.tar"]
    if not test[0].exists():
        packages = [
            fetch_package(name, folder / "packages")
            for name in ("fillets-ng-data", "fillets-ng-data-cs")
        ]
        found = list(_clips(*packages))
        for number, path in enumerate(train):
            write_shard(path, path.stem, (clip for level, clip in found if level == number))
        write_shard(test[0], "fillets-cs-test", (clip for level, clip in found if level < 0))
    return train, test


def _clips(scripts: Path, voices: Path) -> Iterator[tuple[int, SpeechClip]]:
    """Clips with the number of their shard, -1 for the fifth that is tested on."""
    for script in sorted(scripts.rglob("dialogs_cs.lua")):
        level = script.parent.name
        place = int(hashlib.sha1(level.encode()).hexdigest(), 16) % (_SHARDS + 1) - 1
        for key, text in _DIALOGUE.findall(script.read_text(encoding="utf-8")):
            recording = next(iter(voices.rglob(f"sound/{level}/cs/{key}.ogg")), None)
            if recording is None:
                continue
            wave = trim_silence(read_recording(recording))
            if 0 < len(wave) <= _LONGEST_SECONDS * SHARD_HZ:
                yield place, SpeechClip(wave, _speaker(key), "cs", text.replace('\\"', '"'))


def _speaker(key: str) -> str:
    """The two fish have a reader each; of the others, each kind of figure in a kind of level."""
    level, figure, *_ = [*key.split("-"), ""]
    names = (figure,) if figure in ("m", "v") else (level, figure)
    return "-".join(["fillets-cs", *(re.sub(r"\d+", "", name) for name in names)])
