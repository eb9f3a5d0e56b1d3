"""`xytok plan`: what `xytok tokenize` with the same arguments would do and take."""

import argparse
import json

from jobs.tokenize_options import (
    add_tokenize_options,
    codec_of,
    rules_of,
    split_paths,
    storage_of,
)

EXAMPLE = "xytok plan 's3://bucket/Emilia/**/*.tar' s3://bucket/out --workers 64"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `tokenize` takes, and the speed to assume."""
    add_tokenize_options(parser)
    parser.add_argument(
        "--speed", type=float, default=10_000.0, metavar="X", help="x real time of one worker"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan; nothing is changed."""
    from dataclasses import asdict

    from pipeline.errors import UsageError
    from pipeline.inspect.plan import make_plan

    if args.speed <= 0:
        raise UsageError(f"`--speed {args.speed:g}`; expected more than 0, e.g. 10000")
    inputs, output = split_paths(args)
    plan = make_plan(
        inputs,
        output,
        storage_of(args),
        rules=rules_of(args),
        codec=codec_of(args),
        max_shards=args.max_shards,
        speed=args.speed,
        gpus=args.workers or 1,
    )
    print(json.dumps(asdict(plan), indent=1) if args.json else "\n".join(plan.lines()))
    return 0
