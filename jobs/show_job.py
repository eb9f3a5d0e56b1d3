"""`xytok show`: one row with its codes; decoded or as it was, if asked."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.storage_argument import add_storage_argument, storage_of

if TYPE_CHECKING:
    from pipeline.inspect.show import FoundRow

EXAMPLE = "xytok show out EN_B00000_S00000_W000000 --wav clip.wav --original original"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the row and what to make of it."""
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("--shard", default="", help="a piece of its shard's path")
    parser.add_argument("--wav", metavar="FILE", help="decode the codes into a WAV file")
    parser.add_argument("--original", metavar="FILE", help="save the source clip, as it is stored")
    parser.add_argument("--codec", default="xy-nano", help="what `--wav` decodes with")
    add_storage_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the row as JSON, and write the files asked for."""
    from pipeline.inspect.show import find_row, original_suffix, read_original

    storage = storage_of(args)
    found = find_row(args.output, args.key, storage, args.shard)
    print(json.dumps(found.row, indent=None, default=str))
    if args.original:
        content = read_original(args.output, found, storage)
        path = Path(args.original)
        path = path if path.suffix else path.with_suffix(original_suffix(content))
        path.write_bytes(content)
        print(f"original: `{path}`, {len(content)} bytes", file=sys.stderr)
    if args.wav:
        _decode(args, found)
    return 0


def _decode(args: argparse.Namespace, found: "FoundRow") -> None:
    import numpy as np
    import soundfile

    from pipeline.inspect.show import check_decodes
    from pipeline.output.run_record import read_run_record
    from pipeline.storage.location import normalise
    from xy_codec import load_codec

    codec = load_codec(args.codec, device="auto")
    record = read_run_record(storage_of(args), normalise(args.output))
    check_decodes(codec.identity, record)
    (waveform,) = codec.decode([np.asarray(found.row["codes"], dtype=np.int16)])
    soundfile.write(args.wav, waveform, codec.identity.output_rate_hz)
    print(f"decoded: `{args.wav}`", file=sys.stderr)
