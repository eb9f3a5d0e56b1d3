"""Sections of the audit's page in words and tables: verdict, steps, shards, method."""

from html import escape

from pipeline.audit.findings import LABELS, AuditFindings
from pipeline.audit.judge.causes import flip_rates
from pipeline.audit.judge.codes import allowed_flip_rate
from pipeline.audit.judge.judgement import Judgement, ShardVerdict
from pipeline.audit.report.page import STYLES, badge, prose, section, table, tile
from pipeline.audit.report.plots import number
from pipeline.audit.report.strip import strip_plot
from pipeline.audit.report.wording import (
    MEANINGS,
    Step,
    codec_sound,
    codes_words,
    cost_words,
    headline,
    next_steps,
    plural,
    seen,
    shard_list,
    text_words,
    worst_first,
)

_MAX_TABLE_SHARDS = 200
_TILES = ("sim", "stoi", "pesq_wb")


def verdict_block(findings: AuditFindings, judgement: Judgement) -> str:
    """The answer, its reason and the figures that matter most."""
    words = headline(judgement)
    style = STYLES[judgement.verdict]
    return (
        f'<p class="kicker">xytok audit of <code>{escape(findings.output)}</code></p>'
        f'<div class="verdict {style}"><h1>{escape(words.answer)}</h1>'
        f"<p>{prose(words.reason)}</p>{_asides(findings, judgement)}</div>"
        f"{_tiles(findings, judgement)}"
    )


def _asides(findings: AuditFindings, judgement: Judgement) -> str:
    told = (
        codes_words(judgement),
        codec_sound(judgement, findings.sim_model),
        text_words(findings),
        seen(judgement),
    )
    return "".join(f"<p>{prose(text)}</p>" for text in told if text)


def _tiles(findings: AuditFindings, judgement: Judgement) -> str:
    rows = sum(report.rows for report in findings.tokens)
    tiles = [
        tile(
            "Shards ok",
            f"{judgement.count('ok'):,} of {len(judgement.shards):,}",
            f"{rows:,} rows, all checked" if rows else "rows were not checked",
        ),
        _codes_tile(findings, judgement),
    ]
    changes = judgement.run_changes
    for name in _TILES:
        if name in changes:
            mean = changes[name].mean
            half = f"± {number(mean.high - mean.estimate, 2)}, " if mean.is_known else ""
            note = f"{half}mean of {mean.num_values:,}"
            if (reference := changes[name].reference_mean) is not None:
                note += f"; baseline {number(reference)}"
            tiles.append(tile(LABELS[name], number(mean.estimate), note))
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _codes_tile(findings: AuditFindings, judgement: Judgement) -> str:
    compared = sum(shard.num_compared for shard in judgement.shards)
    equal = compared - sum(shard.num_differing for shard in judgement.shards)
    rates = flip_rates(findings.clips)
    if rates and not findings.same_platform:
        # Hardly a clip is equal there, which is no news: how many codes differ is.
        allowed = allowed_flip_rate(findings, judgement.thresholds)
        share = f"{100 * sum(rates) / len(rates):.2f} %"
        return tile("Codes that differ", share, f"up to {100 * allowed:.2f} % is no drift here")
    figure = f"{equal:,} of {compared:,}" if compared else "–"
    return tile("Codes as re-encoded", figure, f"{plural(len(findings.clips), 'clip')} sampled")


def steps_section(judgement: Judgement) -> str:
    """What to do next."""
    items = "".join(_step(step) for step in next_steps(judgement))
    notes = "".join(f"<p class='soft'>{prose(note)}</p>" for note in judgement.notes)
    return section("What to do next", "", f'<ul class="steps">{items}</ul>{notes}')


def _step(step: Step) -> str:
    shards = f"<p><code>{escape(shard_list(step.shards))}</code></p>" if step.shards else ""
    title = step.title[0].upper() + step.title[1:]
    return (
        f"<li><h3>{escape(title)}</h3><p class='soft'>{prose(step.meaning)}</p>"
        f"<p>{prose(step.advice)}</p>{shards}</li>"
    )


def shards_section(judgement: Judgement) -> str:
    """The heat strip and the shards that are not ok."""
    key = "".join(
        f'<li><i class="{style}"></i>{words}</li>'
        for style, words in (
            ("ok", "as expected"),
            ("worse-1", "a little worse"),
            ("worse-2", "clearly worse"),
            ("worse-3", "worse beyond chance"),
            ("better-2", "better"),
            ("none", "nothing to compare with"),
        )
    )
    verdicts = "".join(
        f'<li title="{escape(meaning)}">{badge(verdict)} {judgement.count(verdict):,}</li>'
        for verdict, meaning in MEANINGS.items()
    )
    strip = (
        f'<ul class="key">{verdicts}</ul>'
        f'<div class="wide" tabindex="0" role="region" aria-label="Shards">{strip_plot(judgement)}'
        f'</div><ul class="key">{key}</ul>'
    )
    shown = worst_first(judgement)[:_MAX_TABLE_SHARDS]
    bad = [shard for shard in shown if _is_told(shard)]
    rest = [shard for shard in shown if not _is_told(shard)]
    tables = _shard_table(bad, "Shards with findings or doubts") if bad else ""
    if rest:
        tables += (
            f"<details><summary>Shards without findings</summary>"
            f"{_shard_table(rest, 'Shards without findings')}</details>"
        )
    lead = (
        f"One column per shard in path order, compared with {escape(judgement.reference)}. "
        "Point at a cell for its figures."
    )
    return section("Shards", lead, strip + tables)


def _is_told(shard: ShardVerdict) -> bool:
    return bool(shard.faults or shard.doubts or shard.odd_clips)


def _shard_table(shards: list[ShardVerdict], caption: str) -> str:
    rows = []
    for shard in shards:
        faults = "<br>".join(
            f"<strong>{escape(fault.name)}</strong>: {escape(fault.evidence)}"
            for fault in shard.faults
        )
        asides = [prose(text) for text in (*shard.doubts, *shard.odd_clips[:3])]
        if any(shard.flip_rates):
            rates = " ".join(f"{100 * rate:.2g}" for rate in shard.flip_rates)
            asides.append(f"codes that differ, by codebook: {rates} %")
        faults = "<br>".join([*([faults] if faults else []), *asides])
        equal = f"{shard.num_compared - shard.num_differing} of {shard.num_compared}"
        rows.append(
            f'<tr><th scope="row">{escape(shard.shard)}</th><td>{badge(shard.verdict)}</td>'
            f'<td>{faults or "–"}</td><td class="number">{equal}</td>'
            f'<td class="number">{shard.unseen_share:.1%}</td></tr>'
        )
    return table(
        ["Shard", "Verdict", "Evidence", "#Codes equal", "#May be unseen"], rows, caption, "shards"
    )


def method_section(findings: AuditFindings, judgement: Judgement) -> str:
    """How it was measured, and what could not be."""
    rows = [
        f'<tr><th scope="row">{escape(LABELS.get(what, what))}</th><td>{escape(reason)}</td>'
        f'<td class="number">{count:,}</td></tr>'
        for what, reasons in judgement.missing.items()
        for reason, count in reasons.items()
    ]
    missing = table(["Figure", "Why it is missing", "#Clips"], rows, "Missing figures")
    limits = judgement.thresholds
    codec = ", ".join(
        f"{escape(str(key))} <code>{escape(str(value)[:40])}</code>"
        for key, value in findings.codec.items()
    )
    text = (
        f"<p>Clips were drawn per shard by a hash of key and seed {findings.seed}, so the same "
        "audit draws the same clips. Their originals were re-encoded and compared with the stored "
        "codes (drift), and the decoded codes with the originals (content). Clips of a shard "
        "resemble each other, so the mean of a shard is one value: it is compared with the means "
        "of other shards of its language by a t prediction, of the normal scores of its ranks. All "
        "metrics together are one weighted score beside them, higher where more of them are worse: "
        "it finds what moves several metrics a little. All tests of all shards are one family, "
        "corrected by Holm, in which these scores have half of the weight: the chance that a run "
        f"of good shards has any finding of content is at most {100 * limits.false_alarms:g} %. "
        "Intervals of the run are 95 % t intervals over whole shards and over speakers in them, "
        "the wider of both; those of a shard are over its clips. Of fewer than 3 shards there is "
        f"none.</p><p>{prose(cost_words(findings))}</p>"
        f"<p class='soft'>Codec: {codec}</p>"
    )
    nothing = "<p>Every figure could be computed on every sampled clip.</p>"
    return section("How it was measured", "", text + (missing if rows else nothing))
