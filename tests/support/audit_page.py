"""A page of a simulated audit with a fault and a hostile corpus, and the tags of any page."""

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np

from pipeline.audit.findings import AuditFindings, ClipAudio, ClipFinding
from pipeline.audit.judge.verdict import judge
from pipeline.audit.report.audit_page import render_report
from tests.support.audit_planting import clean_baseline, recordings
from tests.support.audit_simulation import audit_of, clean_shard, clean_tokens, pool, with_drift
from xy_codec.audio import resample

SCRIPT = "<script>alert('caught')</script>"
# What a corpus may hold: ends of attributes and tags, templates, text from right to left with the
# sign that turns all after it around.
HOSTILE = (
    """"><img src=x onerror=alert(1)>""",
    "' onmouseover='alert(2)",
    "</code></p></main><h1>All is well</h1>",
    "{{ 7 * 7 }} {% raw %} {# gone #}",
    "\u202eתירבע \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "`code` & &amp; \u2028",
)


def findings(num_shards: int = 6) -> AuditFindings:
    rng = np.random.default_rng(1)
    names = [f"Emilia/EN/EN-B{number:06d}.tar" for number in range(num_shards)]
    clips = [clip for name in names for clip in clean_shard(name, pool(), rng)]
    hurt = {"differing_codes": (3,) * 8, "differing_frames": 22, "one_bit_flips": 24}
    clips[20:40] = [with_drift(clip, **hurt) for clip in clips[20:40]]
    clips[20] = with_drift(clips[20], differing_codes=(5,) * 8, differing_frames=33)
    clips[20] = replace(clips[20], text=SCRIPT, key=f"{SCRIPT}-1", speaker='" onload="x')
    clips[21] = replace(clips[21], reasons={"pesq_wb": "no_speech"})
    return audit_of(clips, [clean_tokens(name) for name in names])


def sound(clip: ClipFinding) -> ClipAudio:
    samples, rate = recordings()[clip.row % len(recordings())]
    original = resample(samples[: 3 * rate], rate, 16000)
    return ClipAudio(original, (0.7 * original).astype(np.float32), 16000)


@cache
def page() -> str:
    found = findings()
    return render_report(found, judge(found, clean_baseline()), clean_baseline(), sound)


class Tags(HTMLParser):
    """Every tag with its attributes, and whether all that open also close."""

    VOID = ("meta", "img", "br", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


def texts(html: str) -> str:
    """All that the page says, as a reader sees it."""
    parser = Tags()
    parser.feed(html)
    return "".join(parser.texts)
