"""`xytok verify`: manifests against parts against sources; leftovers listed, or removed."""

import argparse
import json

from jobs.storage_argument import add_storage_argument, storage_of

EXAMPLE = "xytok verify s3://bucket/out --clean"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the output and what to do with leftovers."""
    parser.add_argument("output", metavar="OUT")
    parser.add_argument(
        "--clean", action="store_true", help="remove leftovers; not beside a run that works"
    )
    parser.add_argument("--no-sources", action="store_true", help="do not look at the inputs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_storage_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 when anything is wrong or left over."""
    from dataclasses import asdict

    from pipeline.inspect.verify import verify_output

    result = verify_output(
        args.output, storage_of(args), sources=not args.no_sources, clean=args.clean
    )
    print(json.dumps(asdict(result), indent=1) if args.json else "\n".join(result.lines()))
    return 0 if result.is_clean else 1
