"""The exit codes of all verbs, and which error ends a command with which of them."""

import os

DONE = 0
FAILED = 1
WRONG_USAGE = 2
DAMAGED = 3  # not to be retried: the same command finds the same damage
INTERRUPTED = 130
DRAINED = 143  # what shells say of a process that SIGTERM ended

HELP = (
    f"exit codes: {DONE} all done, {FAILED} work failed, there are findings or an audit "
    f"cannot judge, "
    f"{WRONG_USAGE} refused before work (wrong usage, another codec than the output's, shards that "
    f"were replaced since they were done), {DAMAGED} all done, but a shard is damaged, "
    f"{INTERRUPTED} interrupted, {DRAINED} drained (both resume)"
)


def exit_code_of(error: BaseException) -> int | None:
    """The exit code of an error that is the user's to read; None for a defect of ours."""
    from pipeline.errors import (
        ChangedError,
        DamageError,
        DrainedError,
        IdentityError,
        NotFoundError,
        OutputError,
        PipelineError,
        UsageError,
    )
    from xy_codec.errors import CodecNotFoundError, ConfigError, XYCodecError

    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case UsageError() | IdentityError() | ChangedError() | ConfigError():
            return WRONG_USAGE
        case NotFoundError() | CodecNotFoundError():  # of a path or name that the user gave
            return WRONG_USAGE
        case OutputError(__cause__=FileNotFoundError() | NotADirectoryError()):
            return WRONG_USAGE
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError() if error.filename:
            return WRONG_USAGE
        case DamageError():
            return DAMAGED
        case DrainedError():
            return DRAINED
        case PipelineError() | XYCodecError() | OSError(filename=str() | os.PathLike()):
            return FAILED
        case _:
            return None


def message_of(error: BaseException) -> str:
    """What the user reads of an error that `exit_code_of` knows."""
    match error:
        case KeyboardInterrupt():
            return str(error) or "interrupted; the same command resumes"
        case OSError():
            path = os.fspath(error.filename)
            return (
                f"`{path}` cannot be used ({error.strerror}); expected a path that can be read or "
                "written; check the path, its folder and their permissions"
            )
        case _:
            return str(error)
