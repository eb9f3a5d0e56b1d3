"""The `xytok` command: its verbs, and how errors become messages and exit codes.

A verb's module is imported only when the verb is used, so that `xytok --help`, `status` and `plan`
start without torch or Ray.
"""

import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from cyclopts import App, CycloptsError, Parameter

from jobs.exit_codes import DRAINED, FAILED, HELP, WRONG_USAGE, exit_code_of, message_of
from jobs.help_text import HelpText, example_text
from jobs.interrupts import end_on_interrupt
from jobs.logs import LogOptions
from jobs.run_config import apply_config


class Verb(NamedTuple):
    """One verb: the function that does it, what it is for, and an example for its help."""

    function: str
    summary: str
    example: str


VERBS = {
    "encode": Verb(
        "jobs.encode_job:encode",
        "turn audio files into codes",
        "xytok encode talk.mp3 interviews/ -o codes/",
    ),
    "decode": Verb(
        "jobs.decode_job:decode",
        "turn codes back into wav files",
        "xytok decode codes/ -o wavs/",
    ),
    "codecs": Verb(
        "jobs.codecs_job:codecs",
        "list the codecs that xytok knows",
        "xytok codecs",
    ),
    "tokenize": Verb(
        "jobs.tokenize_job:tokenize",
        "turn shards of speech into parts of codes",
        "xytok tokenize 's3://bucket/Emilia/EN/*.tar' s3://bucket/out --codec fdugyt/XY_Tokenizer",
    ),
    "bench": Verb(
        "jobs.bench_job:bench",
        "measure this machine and say what a corpus would cost on it",
        "xytok bench --codec xy-nano --hours 101000 --workers 8",
    ),
    "audit": Verb(
        "jobs.audit_job:audit",
        "prove that the codes of a run still sound like the speech",
        "xytok audit s3://bucket/out --per-shard 20 --baseline baseline.json",
    ),
    "compare": Verb(
        "jobs.compare_job:compare",
        "hear and measure two runs or checkpoints on the same clips",
        "xytok compare s3://bucket/out-a s3://bucket/out-b --output compare.html",
    ),
    "score": Verb(
        "jobs.score_job:score",
        "score decoded audio against its originals, for any codec",
        "xytok score original.wav reconstruction.wav",
    ),
    "evaluate": Verb(
        "jobs.evaluate_job:evaluate",
        "measure codecs side by side: sound, speed, and how much meaning their codes hold",
        "xytok evaluate --codec xy-nano --codec kyutai/mimi,depth=8 --data 'test/*.tar' "
        "--probe-data 'train/*.tar' --output evaluation",
    ),
    "plan": Verb(
        "jobs.plan_job:plan",
        "say what tokenize would do and take, without doing it",
        "xytok plan 's3://bucket/Emilia/**/*.tar' s3://bucket/out --codec fdugyt/XY_Tokenizer "
        "--workers 64",
    ),
    "submit": Verb(
        "jobs.submit_job:submit",
        "run tokenize on a remote Ray cluster and follow it",
        "xytok submit 's3://bucket/Emilia/**/*.tar' s3://bucket/out --codec fdugyt/XY_Tokenizer "
        "--cluster http://head:8265",
    ),
    "logs": Verb(
        "jobs.logs_job:logs",
        "follow a submitted job to its end",
        "xytok logs raysubmit_Xe7cvjyGJCyuCvm2 --cluster http://head:8265",
    ),
    "stop": Verb(
        "jobs.stop_job:stop",
        "end a submitted job in order",
        "xytok stop raysubmit_Xe7cvjyGJCyuCvm2 --cluster http://head:8265",
    ),
    "status": Verb(
        "jobs.status_job:status",
        "say what is done, left, failed and rejected in an output",
        "xytok status s3://bucket/out",
    ),
    "verify": Verb(
        "jobs.verify_job:verify",
        "check an output against its manifests and its sources",
        "xytok verify s3://bucket/out --clean",
    ),
    "index": Verb(
        "jobs.index_job:index",
        "gather what all manifests of an output say in one file, for the tools that read it",
        "xytok index s3://bucket/out",
    ),
    "export": Verb(
        "jobs.export_job:export",
        "write the codes of a run as the files that a trainer reads",
        "xytok export s3://bucket/out train --to omnivoice --split train=0.99,dev=0.01",
    ),
    "retry": Verb(
        "jobs.retry_job:retry",
        "read rejects of an output again, with other rules or another decoder",
        "xytok retry s3://bucket/out --reason undecodable --pyav",
    ),
    "merge": Verb(
        "jobs.merge_job:merge",
        "write the parts of a run as few large ones",
        "xytok merge s3://bucket/out s3://bucket/merged --max-bytes 512M --cluster-by language",
    ),
    "drop": Verb(
        "jobs.drop_job:drop",
        "take single clips out of an output, or bring them back",
        "xytok drop s3://bucket/out --keys @bad.txt --reason 'wrong language'",
    ),
    "show": Verb(
        "jobs.show_job:show",
        "print one row or reject; decode it, or fetch the clip it was made from",
        "xytok show out EN_B00000_S00000_W000000 --wav clip.wav --original original",
    ),
    "card": Verb(
        "jobs.card_job:card",
        "write a dataset card for an output",
        "xytok card s3://bucket/out --licence cc-by-4.0 --title Codes --output README.md",
    ),
    "doctor": Verb(
        "jobs.doctor_job:doctor",
        "check this machine, storage and cluster, and say what to do",
        "xytok doctor s3://bucket/out --write --cluster auto --codec xy-nano",
    ),
    "prepare-speech": Verb(
        "jobs.prepare_speech_job:prepare_speech",
        "gather the speech that xy-nano is trained and scored on",
        "xytok prepare-speech speech --hibari 76 --kokoro 60 --kokoro-voices package/voices",
    ),
    "train": Verb(
        "jobs.train_job:train",
        "train the codec: pre-training or post-training by a recipe",
        "xytok train --recipe nano_pretrain --output runs/nano "
        "--set speech.shards='shards/train/*/*.tar' --set model.whisper=tiny.en/model.bin",
    ),
    "completion": Verb(
        "jobs.completion_job:completion",
        "print a completion script for bash, zsh or fish",
        'eval "$(xytok completion bash)"',
    ),
}


def _default_text(value: object) -> str | None:
    if value is None or value is False or value in ("", ()):
        return None
    return " ".join(value) if isinstance(value, tuple) else str(value)


APP = App(
    name="xytok",
    help="Turn speech corpora into codes of a speech codec, and prove that they sound right.",
    help_epilogue=HELP,
    help_format="plaintext",
    help_formatter=HelpText(),
    version=lambda: f"xytok {importlib.metadata.version('xytok')}",
    config=apply_config,
    default_parameter=Parameter(
        negative_iterable=(),
        show_default=_default_text,
    ),
    print_error=False,
    exit_on_error=False,
)
for _place, (_name, _verb) in enumerate(VERBS.items()):
    APP.command(
        _verb.function,
        name=_name,
        help=f"{_verb.summary[0].upper()}{_verb.summary[1:]}.",
        help_epilogue=example_text(_verb.example),
        sort_key=_place,
    )


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "-h"]
    verb = next((word for word in argv if word in VERBS), "")
    try:
        command, bound, _ = APP.parse_args(argv or ["--help"])
        log: LogOptions = bound.arguments.get("log", LogOptions())
        with log.handlers():
            code = command(*bound.args, **bound.kwargs) or 0
        return code if argv else WRONG_USAGE
    except CycloptsError as error:
        from jobs.usage_errors import explain

        return _fail(verb, explain(error, VERBS), WRONG_USAGE)
    except (Exception, KeyboardInterrupt) as error:
        ended = exit_code_of(error)
        if ended is None:
            raise
        return _fail(verb, message_of(error), ended)


def _fail(verb: str, message: str, code: int) -> int:
    print(f"xytok {verb}: {message}" if verb else f"xytok: {message}", file=sys.stderr)
    return code


def main() -> NoReturn:
    """Entry point of the `xytok` command."""
    # Else Python would end at once and leave temporary files; runs that drain have a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(DRAINED))
    end_on_interrupt()
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # `xytok codecs | head` reads no further; Python would flush stdout once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    if any(each.name.startswith("xytok-") for each in threading.enumerate()):
        # A thread still computes; Python's end would abort the process under it.
        os._exit(code)
    sys.exit(code)
