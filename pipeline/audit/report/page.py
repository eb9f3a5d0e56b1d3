"""Pages out of Jinja templates: one self-contained HTML document each, that needs no network.

Whatever a template prints is escaped. A content policy forbids the page to load anything or to run
any script but its own.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.audit.judge.judgement import Verdict
from pipeline.audit.report.wording import number, signed
from pipeline.plural import plural

STYLES: dict[Verdict, str] = {
    "ok": "ok",
    "cannot judge": "few",
    "unusual content": "unusual",
    "drift": "drift",
    "broken": "broken",
}
_OWN = "pipeline.audit.report"


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure with its label and a note."""

    label: str
    figure: str
    note: str


def render_page(template: str, title: str, *, package: str = _OWN, **content: Any) -> str:
    """The page of a template of a package, which extends `page.html.j2`."""
    environment = _environment(package)
    return environment.get_template(template).render(title=title, **content)


@cache
def _environment(package: str) -> Environment:
    own = PackageLoader(_OWN)
    environment = Environment(
        loader=ChoiceLoader([own, PackageLoader(package)]) if package != _OWN else own,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, _, _ = own.get_source(environment, "page.js")
    digest = hashlib.sha256(script.encode()).digest()
    environment.globals |= {
        "script": Markup(script),
        "script_hash": base64.b64encode(digest).decode(),
        "styles": STYLES,
    }
    environment.filters |= {
        "code": _with_code,
        "count": "{:,}".format,
        "number": number,
        "path": _with_breaks,
        "plural": plural,
        "signed": signed,
    }
    return environment


def _with_code(text: str) -> Markup:
    """Escaped text with its backticked words as code; options are never broken at a hyphen."""
    marked = re.sub("`(--[^` ]+)`", r'<code class="option">\1</code>', str(escape(text)))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", marked))


def _with_breaks(path: str) -> Markup:
    """An escaped path that may be broken after its slashes."""
    return Markup(str(escape(path)).replace("/", "/<wbr>"))
