"""The `xytok` command: finds a verb's job, imports only that one, maps errors to exit codes."""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

# verb → (module, one line of help); a module is imported only when its verb is used, so that
# `xytok --help`, `status` and `plan` start without torch or Ray.
JOBS: dict[str, tuple[str, str]] = {
    "encode": ("jobs.encode_job", "turn audio files into codes"),
    "decode": ("jobs.decode_job", "turn codes back into wav files"),
    "tokenize": ("jobs.tokenize_job", "turn shards of speech into parts of codes"),
    "bench": ("jobs.bench_job", "measure this machine and say what a corpus would cost on it"),
    "audit": ("jobs.audit_job", "prove that the codes of a run still sound like the speech"),
    "compare": ("jobs.compare_job", "hear and measure two runs or checkpoints on the same clips"),
    "score": ("jobs.score_job", "score decoded audio against its originals, for any codec"),
    "plan": ("jobs.plan_job", "say what tokenize would do and take, without doing it"),
    "submit": ("jobs.submit_job", "run tokenize on a remote Ray cluster and follow it"),
    "status": ("jobs.status_job", "say what is done, left, failed and rejected in an output"),
    "verify": ("jobs.verify_job", "check an output against its manifests and its sources"),
    "show": ("jobs.show_job", "print one row; decode it, or fetch the clip it was made from"),
    "card": ("jobs.card_job", "write a dataset card for an output"),
    "doctor": ("jobs.doctor_job", "check this machine, storage and cluster, and say what to do"),
    "prepare-speech": (
        "jobs.prepare_speech_job",
        "gather the speech that xy-nano is trained and scored on",
    ),
    "train": ("jobs.train_job", "train the codec: pre-training or post-training by a recipe"),
    "completion": ("jobs.completion_job", "print a completion script for bash, zsh or fish"),
}
# Verbs whose `--config FILE` holds options of a run.
_CONFIGURED = ("tokenize", "plan")


class Job(Protocol):
    """What every module named in `JOBS` offers."""

    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the job's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the job and return its exit code."""
        ...


def load_job(verb: str) -> Job:
    """Import the module behind a verb."""
    return cast(Job, importlib.import_module(JOBS[verb][0]))


def build_parser(verbs: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with full arguments for `verbs` and one help line for the rest."""
    parser = argparse.ArgumentParser(
        prog="xytok",
        description="Turn speech corpora into XY-Tokenizer codes, and prove that they sound right.",
        epilog="exit codes: 0 all done, 1 work failed or findings, 2 wrong usage, "
        "130 interrupted, 143 drained (both resume)",
    )
    version = importlib.metadata.version("xytok")
    parser.add_argument("--version", action="version", version=f"xytok {version}")
    subparsers = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for verb, (_, summary) in JOBS.items():
        job = load_job(verb) if verb in verbs else None
        subparser = subparsers.add_parser(
            verb,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {job.EXAMPLE}" if job else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if job:
            job.add_arguments(subparser)
    return parser


def _expected_errors() -> tuple[type[Exception], ...]:
    from pipeline.errors import PipelineError
    from xy_codec.errors import XYCodecError

    return PipelineError, XYCodecError


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    verbs = [word for word in argv if word in JOBS][:1]
    verb = "".join(verbs)
    try:
        if verb in _CONFIGURED:
            from jobs.run_config import expand_config

            start = argv.index(verb) + 1
            argv = [*argv[:start], *expand_config(argv[start:])]
        args = build_parser(verbs).parse_args(argv)
        return load_job(args.verb).run(args)
    except SystemExit:
        raise  # argparse's; to compare it with our errors would import them and numpy
    except _expected_errors() as error:
        print(f"xytok {verb}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print(f"xytok {verb}: interrupted; the same command resumes", file=sys.stderr)
        return 130


def main() -> NoReturn:
    """Entry point of the `xytok` command."""
    sys.exit(run(sys.argv[1:]))
