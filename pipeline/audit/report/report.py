"""The audit's page: `report.html` out of findings, judgement, baseline and a few sounds."""

from pipeline.audit.findings import AudioSource, AuditFindings, ClipFinding
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.report.measured_sections import codes_section, metrics_section
from pipeline.audit.report.page import render_page, section
from pipeline.audit.report.sections import (
    method_section,
    shards_section,
    steps_section,
    verdict_block,
)
from pipeline.audit.report.wording import headline
from pipeline.audit.report.worst_clips import Side, clip_card, score_facts, worst_clips
from xy_codec.xy.released import VARIANTS

_NUM_CLIPS = 8
# The one checkpoint that the paper measured; beside any other its table means nothing.
_RELEASED = VARIANTS[642][0]


def render_report(
    findings: AuditFindings,
    judgement: Judgement,
    baseline: Baseline | None = None,
    audio: AudioSource | None = None,
    num_clips: int = _NUM_CLIPS,
) -> str:
    """The whole page as HTML; `audio` gives the sounds of the few clips it shows."""
    released = findings.codec.get("name") == _RELEASED
    content = [
        verdict_block(findings, judgement),
        steps_section(judgement),
        shards_section(judgement),
        metrics_section(findings, judgement, baseline, released),
        codes_section(findings, judgement, baseline),
        _clips_section(findings, judgement, audio, num_clips),
        method_section(findings, judgement),
    ]
    title = f"{headline(judgement).answer} – xytok audit of {findings.output}"
    return render_page(title, "\n".join(content))


def _clips_section(
    findings: AuditFindings, judgement: Judgement, audio: AudioSource | None, num_clips: int
) -> str:
    listenings = worst_clips(findings.clips, judgement, num_clips)
    if not listenings:
        return ""
    cards = "".join(
        clip_card(listening, _sides(listening.clip, audio), score_facts(listening.clip))
        for listening in listenings
    )
    lead = (
        "Original and reconstruction side by side, from the faulty shards first. "
        "These are the worst of the sample, not typical clips."
    )
    return section("Worst clips", lead, cards)


def _sides(clip: ClipFinding, audio: AudioSource | None) -> list[Side]:
    sound = audio(clip) if audio else None
    if sound is None:
        return []
    return [
        Side("Original", sound.original, sound.rate_hz),
        Side("Reconstruction from stored codes", sound.reconstruction, sound.rate_hz),
    ]
