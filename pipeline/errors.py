"""The errors that end a command; `jobs/exit_codes.py` gives each its exit code.

Faults of the data end nothing: a clip that cannot become codes is a row of the reject file, with a
reason from `pipeline/corpus/reject_reasons.py`.

PipelineError
├── UsageError           a wrong option, or an input that matches nothing
├── InputError           an input that cannot be listed or read
│   ├── NotFoundError    there is nothing at its path or URL
│   └── ChangedError     shards that were replaced since they were done
├── OutputError          an output that cannot be written, or belongs to another run
│   ├── IdentityError    the output was made with another codec, resampler or option
│   └── LeaseError       another run works in the output
├── StorageError         storage that kept failing after every retry
│   └── RefusedError     storage that refuses, for want of credentials or permissions
├── WorkerError          workers that do not start
├── NodeError            a machine on which a worker cannot do its work
├── DrainedError         SIGTERM stopped the run; the same command resumes it
├── RejectRateError      more of the clips are rejects than a run allows
└── DamageError          a run that finished, but with damaged shards
"""

from collections.abc import Sequence


class PipelineError(Exception):
    """Ends a command; the message says what is wrong, what was expected and what to do."""


class UsageError(PipelineError):
    """A wrong option or combination of options, or an input that matches nothing."""


class InputError(PipelineError):
    """An input that cannot be listed or read."""


class NotFoundError(InputError):
    """There is nothing at the path or URL that was to be read."""


class ChangedError(InputError):
    """Shards are not the files any more that an output was made from; refused before work."""


class OutputError(PipelineError):
    """An output that cannot be written, or that belongs to another run."""


class IdentityError(OutputError):
    """The output was made with another codec, resampler or option than this run has."""


class LeaseError(OutputError):
    """Another run works in the output, or took it over from this one."""


class StorageError(PipelineError):
    """Storage that kept failing after every retry."""


class UnreachedError(StorageError):
    """No server ever answered: most likely its address is wrong."""


class RefusedError(StorageError):
    """Storage that refuses: credentials or permissions are missing, wrong or expired."""


class WorkerError(PipelineError):
    """Workers that do not start, so that the run could only wait for ever."""


class NodeError(PipelineError):
    """A machine on which a worker cannot do its work, whatever the shard."""


class DrainedError(PipelineError):
    """SIGTERM came; the run finished the shards its workers held, and can be resumed."""


class RejectRateError(PipelineError):
    """More of a run's clips are rejects than `--max-reject-rate` allows."""


class DamageError(PipelineError):
    """A run that finished, but with damaged shards."""


def what_happened(error: object) -> str:
    """What a message of ours says is wrong; for messages around it, which have their own remedy."""
    return str(error).partition("; expected ")[0]


def list_lines(lines: Sequence[str], most: int = 10) -> str:
    """The first lines, indented, and how many more there are; for messages that list things."""
    shown = [f"  {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"  … and {len(lines) - most} more")
    return "\n".join(shown)
