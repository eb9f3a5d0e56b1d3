"""Errors of the pipeline; data faults are rows, these end a command with an exit code.

PipelineError            exit code 1
├── UsageError           exit code 2: a wrong option or combination, found before any work
├── InputError           an input that cannot be listed or read
├── OutputError          an output that cannot be written, or belongs to another run
│   └── IdentityError    the output was made with another codec, resampler or option
├── StorageError         storage that kept failing after every retry
├── WorkerError          workers that do not start
├── DrainedError         a run that was asked to stop and did; exit code 143
└── DamageError          a run that finished with damaged shards or too many rejects
"""


class PipelineError(Exception):
    """Anything that ends a command; the message says what is wrong and what to do."""

    exit_code = 1


class UsageError(PipelineError):
    """A wrong option or combination of options, found before any work starts."""

    exit_code = 2


class InputError(PipelineError):
    """An input that cannot be listed or read."""


class OutputError(PipelineError):
    """An output that cannot be written, or that belongs to another run."""


class IdentityError(OutputError):
    """The output was made with another codec, resampler or option than this run has."""


class StorageError(PipelineError):
    """Storage that kept failing after every retry."""


class WorkerError(PipelineError):
    """Workers that do not start, so that nothing would ever be done."""


class DrainedError(PipelineError):
    """A run that got SIGTERM, finished what it had in hand, and can be resumed."""

    exit_code = 143


class DamageError(PipelineError):
    """A run that finished, but with damaged shards or more rejects than allowed."""
