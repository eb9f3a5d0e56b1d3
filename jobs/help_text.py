"""How `-h` looks: every entry is wrapped once, at the terminal's width, and hangs by its flag."""

import re
import textwrap
from typing import TYPE_CHECKING

from cyclopts.help.formatters import PlainFormatter

if TYPE_CHECKING:
    from rich.console import Console

_EXAMPLE_WIDTH = 76


class HelpText(PlainFormatter):
    """The plain help; cyclopts' own wraps twice and leaves the rest of an entry at the margin."""

    def _print_plain(self, console: "Console", text: str) -> None:
        indent = " " * (len(text) - len(text.lstrip()))
        lines = textwrap.wrap(
            " ".join(text.split()),
            console.width,
            initial_indent=indent,
            subsequent_indent=2 * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def example_text(command: str) -> str:
    """An example that can be copied: lines of one command end with a backslash."""
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|\S)+", command):
        if len(lines[-1]) + len(word) > _EXAMPLE_WIDTH:
            lines.append("  ")
        lines[-1] += f"{word} "
    return "example:\n" + " \\\n".join(f"  {line.rstrip()}" for line in lines)
