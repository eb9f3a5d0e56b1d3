"""`xytok completion`: prints a completion script for bash, zsh or fish."""

from typing import Literal

from jobs.logs import Log, LogOptions


def completion(shell: Literal["bash", "zsh", "fish"], /, *, log: Log = LogOptions()) -> int:
    """Print the script; its source is the same declarations that parse the command line."""
    from jobs.cli import APP

    print(APP.generate_completion(shell=shell))
    return 0
