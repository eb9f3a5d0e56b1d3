"""The fenced blocks of README.md: which language, whether to run them, and the commands inside.

A block is run, by itself if its fence says `slow`, unless the fence says what stands
against it (`parse-only=hub`) or its language is `text` (output, shown for reading).
"""

import re
import shlex
from dataclasses import dataclass

from tests.support.places import ROOT

README = ROOT / "README.md"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    line: int
    language: str
    note: str  # of the fence: `slow`, or `parse-only=` and the reason
    text: str

    @property
    def name(self) -> str:
        return f"line-{self.line}-{self.language}"

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and not self.note.startswith("parse-only")

    def xytok_commands(self) -> list[list[str]]:
        """The arguments of every `xytok …` in a shell block."""
        if self.language != "sh":
            return []
        joined = self.text.replace("\\\n", " ")
        found = []
        for line in joined.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "eval":
                words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
            if words and words[0] == "xytok":
                arguments = words[1:]
                ends = [i for i, w in enumerate(arguments) if w in ("|", "||", "&&", ";", ">", "&")]
                found.append(arguments[: ends[0]] if ends else arguments)
        return found


def read_blocks() -> list[Block]:
    text = README.read_text()
    return [
        Block(
            line=text[: match.start()].count("\n") + 1,
            language=match[1],
            note=match[2].strip(),
            text=match[3],
        )
        for match in _FENCE.finditer(text)
    ]


def inline_flags() -> set[str]:
    """Every `--flag` that the prose names."""
    prose = _FENCE.sub("", README.read_text())
    return set(re.findall(r"`(--[a-z][a-z0-9-]*)", prose))
