"""Options that `encode` and `decode` share: which codec, on what device, and files to write."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError, UsageError

if TYPE_CHECKING:
    from xy_codec.contract import Codec


def add_codec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that choose a codec."""
    parser.add_argument(
        "--codec",
        default="xy-nano",
        metavar="SOURCE",
        help="bundled name, file, folder, URL or Hugging Face repository (default: xy-nano)",
    )
    parser.add_argument("--config", metavar="YAML", help="configuration, if not beside the weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--overlap",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="overlap of windows in long clips (default: 10)",
    )


def add_compile_argument(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Declare `--compile`."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the encoder first (minutes), into CUDA graphs on a GPU",
    )


def open_codec(args: argparse.Namespace, precision: str) -> "Codec":
    """Load the codec that the options name."""
    from xy_codec import load_codec

    return load_codec(
        args.codec,
        config=args.config,
        precision=precision,
        device=args.device,
        overlap_seconds=args.overlap,
        compiled=getattr(args, "compile", False),
    )


def list_files(paths: Iterable[str], suffixes: tuple[str, ...]) -> list[Path]:
    """The files given, and those with a fitting suffix in the folders given."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (item for item in path.rglob("*") if item.suffix.lower() in suffixes)
            found += sorted(item for item in inside if item.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"Input `{path}` does not exist. Expected a file or a folder.")
    if not found:
        raise InputError(f"No files ending in {', '.join(suffixes)} were found. Check the paths.")
    return found


def target_paths(sources: list[Path], folder: Path, suffix: str) -> list[Path]:
    """Where each file's result goes; two inputs with one name would overwrite each other."""
    targets = [folder / f"{source.stem}{suffix}" for source in sources]
    for i, target in enumerate(targets):
        if target in targets[:i]:
            raise UsageError(
                f"`{sources[i]}` and `{sources[targets.index(target)]}` would both write "
                f"`{target}`. Rename one, or use two output folders."
            )
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def complain(message: object) -> None:
    """Tell about one bad file and go on."""
    print(message, file=sys.stderr)
