"""The exit codes of all verbs, and which error ends a command with which of them."""

import os

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
DRAINED = 143  # what shells say of a process that SIGTERM ended

HELP = (
    f"exit codes: {DONE} all done, {FAILED} work failed, a shard is damaged or there are findings, "
    f"{WRONG_USAGE} wrong usage, {INTERRUPTED} interrupted, {DRAINED} drained (both resume)"
)


def exit_code_of(error: BaseException) -> int | None:
    """The exit code of an error that is the user's to read; None for a defect of ours."""
    from pipeline.errors import DrainedError, PipelineError, UsageError
    from xy_codec.errors import XYCodecError

    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case UsageError():
            return WRONG_USAGE
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
