"""`xytok tokenize`: shards of speech in, parts of codes out."""

import argparse
import json

from jobs.tokenize_options import (
    add_tokenize_options,
    codec_of,
    ray_options_of,
    rules_of,
    split_paths,
    storage_of,
    tuning_of,
)

EXAMPLE = "xytok tokenize 's3://bucket/Emilia/EN/*.tar' s3://bucket/out --codec fdugyt/XY_Tokenizer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_tokenize_options(parser)


def run(args: argparse.Namespace) -> int:
    """Tokenize what is left and say what was done."""
    from pipeline.fleet.engine import Engine, InlineEngine
    from pipeline.fleet.ray.engine import RayEngine
    from pipeline.fleet.run import RunRequest, check_finished, run_tokenize

    inputs, output = split_paths(args)
    codec = codec_of(args)
    request = RunRequest(
        inputs=inputs,
        output=output,
        rules=rules_of(args),
        storage=storage_of(args),
        tuning=tuning_of(args),
        max_shards=args.max_shards,
        max_reject_rate=args.max_reject_rate,
        redo_changed=args.redo_changed,
        allow_damaged=args.allow_damaged,
        quiet=args.quiet,
        codec=codec,
    )
    engine: Engine = InlineEngine(codec)
    if args.engine == "ray":
        engine = RayEngine(codec, ray_options_of(args))
    try:
        summary = run_tokenize(request, engine)
    finally:
        engine.close()
    if args.json:
        print(json.dumps(summary.to_dict(), indent=1))
    elif not args.quiet:
        print("\n".join(summary.lines()))
    check_finished(summary, allow_damaged=args.allow_damaged)
    return 0
