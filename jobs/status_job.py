"""`xytok status`: what an output folder alone says about its run."""

import argparse
import json

from jobs.storage_argument import add_storage_argument, storage_of

EXAMPLE = "xytok status s3://bucket/out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the output."""
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_storage_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the status; 1 when shards are left or failed."""
    from dataclasses import asdict

    from pipeline.inspect.status import read_status

    status = read_status(args.output, storage_of(args))
    print(json.dumps(asdict(status), indent=1) if args.json else "\n".join(status.lines()))
    return 0 if status.is_complete else 1
