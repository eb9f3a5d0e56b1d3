"""`xytok submit`: `xytok tokenize` on a remote Ray cluster, followed to its end."""

import argparse

EXAMPLE = (
    "xytok submit --cluster http://head:8265 -- 's3://bucket/Emilia/**/*.tar' s3://bucket/out "
    "--codec fdugyt/XY_Tokenizer"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the cluster, what travels, and the arguments of the run."""
    parser.add_argument(
        "--cluster", metavar="URL", help="job server; default: RAY_API_SERVER_ADDRESS"
    )
    parser.add_argument(
        "--pip",
        action="store_true",
        help="install the dependencies on the cluster; without it, its image has them",
    )
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and return")
    parser.add_argument("--env", action="append", default=[], metavar="NAME", help="pass it on")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- IN … OUT [options]")


def run(args: argparse.Namespace) -> int:
    """Check the arguments here, submit, follow the log, and return the run's exit code."""
    from jobs.run_config import expand_config
    from jobs.tokenize_options import add_tokenize_options, codec_of, rules_of, split_paths
    from pipeline.errors import UsageError
    from pipeline.fleet.ray.submission import Submission, submit
    from pipeline.storage.location import check_no_secret
    from pipeline.storage.options import check_storage_argument

    # The cluster has no such file: its options travel.
    words = expand_config([word for word in args.arguments if word != "--"])
    parser = argparse.ArgumentParser(prog="xytok submit --", allow_abbrev=False)
    add_tokenize_options(parser)
    tokenize = parser.parse_args(words)
    inputs, output = split_paths(tokenize)
    # Before anything shows in the job API.
    check_storage_argument(tokenize.storage_options or "@")
    for url in (*inputs, output, *codec_of(tokenize).urls()):
        check_no_secret(url)
    faults = rules_of(tokenize).check()
    if tokenize.engine == "inline":
        faults.append("`--engine inline` would use one process of the head; expected `ray`")
    if faults:
        raise UsageError("\n".join(["Some options cannot be used:", *faults]))
    submission = Submission(tuple(words), args.pip, tuple(args.env), wait=not args.no_wait)
    return submit(args.cluster, submission, write=lambda text: print(text, end="", flush=True))
