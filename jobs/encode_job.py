"""`xytok encode`: audio files to codes, one `.npz` per file."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.codec_options import (
    add_codec_arguments,
    add_compile_argument,
    complain,
    list_files,
    open_codec,
    target_paths,
)

if TYPE_CHECKING:
    from xy_codec.contract import CodecIdentity, Codes, Waveform

EXAMPLE = "xytok encode talk.mp3 interviews/ -o codes/"
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where codes go")
    add_codec_arguments(parser)
    add_compile_argument(parser)
    parser.add_argument(
        "--precision", default="exact", choices=("exact", "fast"), help="default: exact"
    )
    parser.add_argument(
        "--codebooks", type=int, metavar="K", help="keep only the first K codebooks"
    )


def run(args: argparse.Namespace) -> int:
    """Encode every file; a bad file is named and the others go on."""
    sources = list_files(args.files, SUFFIXES)
    targets = dict(zip(sources, target_paths(sources, Path(args.output), ".npz"), strict=True))
    codec = open_codec(args, args.precision)
    bad: list[Path] = []
    done = 0
    for source, codes in codec.encode_stream(_waveforms(sources, codec.identity, bad)):
        _write(targets[source], codes[: args.codebooks], codec.identity)
        print(f"{targets[source]}  {codes.shape[1]} frames")
        done += 1
    complain(f"encoded {done} of {len(sources)} files with {codec.identity.name}")
    return 1 if bad else 0


def _waveforms(
    sources: list[Path], identity: "CodecIdentity", bad: list[Path]
) -> Iterator[tuple[Path, "Waveform"]]:
    from xy_codec.audio import read_audio
    from xy_codec.errors import AudioError
    from xy_codec.inputs import check_waveform

    for source in sources:
        try:
            waveform = read_audio(source, identity.input_rate_hz)
            check_waveform(waveform, identity, None, f"`{source}`")
        except AudioError as error:
            complain(error)
            bad.append(source)
        else:
            yield source, waveform


def _write(target: Path, codes: "Codes", identity: "CodecIdentity") -> None:
    import numpy as np

    part = target.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, codes=codes, identity=json.dumps(identity.to_dict()))
    part.replace(target)
