"""The errors that end a command; `jobs/exit_codes.py` gives each its exit code.

Faults of the data end nothing: a clip that cannot become codes is a row of the reject file, with a
reason from `pipeline/corpus/reject_reasons.py`.

PipelineError
├── UsageError           a wrong option or combination, found before any work
├── InputError           an input that cannot be listed or read
│   └── NotFoundError    there is nothing at its path or URL
├── OutputError          an output that cannot be written, or belongs to another run
│   ├── IdentityError    the output was made with another codec, resampler or option
│   └── LeaseError       another run works in the output
├── StorageError         storage that kept failing after every retry
├── WorkerError          workers that do not start
├── NodeError            a machine on which a worker cannot do its work
├── DrainedError         SIGTERM stopped the run; the same command resumes it
└── DamageError          a run that finished with damaged shards or too many rejects
"""

from collections.abc import Sequence


class PipelineError(Exception):
    """Ends a command; the message says what is wrong, what was expected and what to do."""


class UsageError(PipelineError):
    """A wrong option or combination of options, found before any work starts."""


class InputError(PipelineError):
    """An input that cannot be listed or read."""


class NotFoundError(InputError):
    """There is nothing at the path or URL that was to be read."""


class OutputError(PipelineError):
    """An output that cannot be written, or that belongs to another run."""


class IdentityError(OutputError):
    """The output was made with another codec, resampler or option than this run has."""


class LeaseError(OutputError):
    """Another run works in the output, or took it over from this one."""


class StorageError(PipelineError):
    """Storage that kept failing after every retry."""


class WorkerError(PipelineError):
    """Workers that do not start, so that the run could only wait for ever."""


class NodeError(PipelineError):
    """A machine on which a worker cannot do its work, whatever the shard."""


class DrainedError(PipelineError):
    """SIGTERM came; the run finished the shards its workers held, and can be resumed."""


class DamageError(PipelineError):
    """A run that finished, but with damaged shards or more rejects than allowed."""


def list_lines(lines: Sequence[str], most: int = 10) -> str:
    """The first lines, indented, and how many more there are; for messages that list things."""
    shown = [f"  {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"  … and {len(lines) - most} more")
    return "\n".join(shown)
