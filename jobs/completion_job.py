"""`xytok completion`: prints a completion script for bash, zsh or fish."""

from typing import Literal

from jobs.logs import Log, LogOptions


def completion(shell: Literal["bash", "zsh", "fish"], /, *, log: Log = LogOptions()) -> int:
    """Print the script; its source is the same declarations that parse the command line."""
    from jobs.cli import APP

    print(APP.generate_completion(shell=shell))
    if shell == "zsh":
        # The script is made for a file in `fpath`; this line serves `eval` as well.
        print("compdef _cyclopts_xytok xytok")
    return 0
