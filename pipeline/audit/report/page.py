"""The page around a report: one self-contained HTML document that needs no network.

The style sheet and the few lines of script lie beside this file; a content policy forbids the page
to load anything or to run any script but its own.
"""

import base64
import hashlib
import re
from html import escape
from importlib.resources import files
from string import Template

from pipeline.audit.judge.inference import Interval
from pipeline.audit.judge.judgement import Verdict
from pipeline.audit.report.plots import number, signed

STYLES: dict[Verdict, str] = {
    "ok": "ok",
    "cannot judge": "few",
    "unusual content": "unusual",
    "drift": "drift",
    "broken": "broken",
}


def render_page(title: str, content: str) -> str:
    """The document with `content`, which must be HTML already, and `title`, which is escaped."""
    script = _file("page.js")
    digest = hashlib.sha256(script.encode()).digest()
    return Template(_file("page.html")).substitute(
        title=escape(title),
        style=_file("page.css"),
        script=script,
        script_hash=base64.b64encode(digest).decode(),
        content=content,
    )


def _file(name: str) -> str:
    return (files("pipeline.audit.report") / name).read_text(encoding="utf-8")


def section(title: str, lead: str, content: str) -> str:
    """A section with its heading and one line that says what it shows."""
    lead_line = f'<p class="lead">{lead}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{lead_line}{content}</section>"


def prose(text: str) -> str:
    """Escaped text with its backticked words as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def badge(verdict: Verdict) -> str:
    """A verdict as coloured word with its own mark, so that colour is never alone."""
    return f'<span class="badge {STYLES[verdict]}">{escape(verdict)}</span>'


def interval_cell(interval: Interval | None, is_difference: bool = False) -> str:
    """An estimate and its bounds as a table cell."""
    if interval is None:
        return '<td class="number">–</td>'
    estimate = (signed if is_difference else number)(interval.estimate)
    bounds = f"{number(interval.low)} to {number(interval.high)}" if interval.is_known else ""
    return f'<td class="number">{estimate} <span class="range">{bounds}</span></td>'


def tile(label: str, figure: str, note: str) -> str:
    """One large figure with its label and a note."""
    return (
        f'<div class="tile"><dt>{escape(label)}</dt><dd class="figure">{escape(figure)}</dd>'
        f'<dd class="note">{escape(note)}</dd></div>'
    )


def table(head: list[str], rows: list[str], caption: str, style: str = "") -> str:
    """A table that scrolls sideways on a phone; `head` cells starting with `#` are figures."""
    cells = "".join(
        f'<th scope="col" class="number">{escape(cell[1:])}</th>'
        if cell.startswith("#")
        else f'<th scope="col">{escape(cell)}</th>'
        for cell in head
    )
    body = "".join(rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{style}"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )
