"""Sections of the audit's page with plots: metrics against the baseline, use of the codebooks."""

from html import escape

import numpy as np

from pipeline.audit.findings import (
    LABELS,
    METRIC_NAMES,
    METRICS,
    AuditFindings,
    Metric,
    entropy_bits,
    total_counts,
)
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.reference import finite_values
from pipeline.audit.report.page import interval_cell, section, table
from pipeline.audit.report.plots import bar, distribution_plot, number, usage_curve
from pipeline.audit.report.wording import plural

_MAIN = ("sim", "stoi", "pesq_nb", "pesq_wb")
# The released checkpoint on LibriSpeech test-clean, as its authors report it; their SIM is of a
# speaker model of their own.
PUBLISHED = {"stoi": 0.92, "pesq_nb": 3.10, "pesq_wb": 2.50}


def metrics_section(
    findings: AuditFindings, judgement: Judgement, baseline: Baseline | None, released: bool
) -> str:
    """Distributions against the baseline, and every mean with its interval."""
    main = [metric for metric in METRICS if metric.name in _MAIN]
    other = [metric for metric in METRICS if metric.name not in _MAIN]
    plots = _plots(findings, main, baseline)
    more = _plots(findings, other, baseline)
    key = '<ul class="key"><li><i class="own"></i>this run</li>'
    if baseline:
        key += '<li><i class="line"></i>baseline</li>'
    content = f'{key}</ul><div class="plots main">{plots}</div>' + _metric_table(
        judgement, released
    )
    content += (
        f'<details><summary>More measurements</summary><div class="plots">{more}</div></details>'
    )
    against = f"against the baseline {escape(baseline.label)}" if baseline else "no baseline given"
    lead = f"Reconstruction compared with the original, {against}."
    if model := findings.sim_model:
        lead += f" SIM is from <code>{escape(model)}</code> and compares with no other model's."
    return section("How it sounds", lead, content)


def _plots(
    findings: AuditFindings,
    metrics: list[Metric],
    baseline: Baseline | None,
) -> str:
    drawn = []
    for metric in metrics:
        values = finite_values(findings.drawn, metric.name)
        if not len(values):
            continue
        reference = baseline.whole(metric.name) if baseline else None
        if metric.name == "sim" and baseline and baseline.sim_model != findings.sim_model:
            reference = None
        plot = distribution_plot(metric.label, values, reference.values if reference else None)
        unit = f", {metric.unit}" if metric.unit else ""
        better = {"higher": " · higher is better", "lower": " · lower is better"}
        drawn.append(
            f"<figure><figcaption><strong>{escape(metric.label)}</strong>{escape(unit)}"
            f"{better.get(metric.better, '')}</figcaption>{plot}</figure>"
        )
    return "".join(drawn)


def _metric_table(judgement: Judgement, released: bool) -> str:
    head = ["Metric", "#Mean, 95 % interval", "#Baseline", "#Difference", "#Clips"]
    if released:
        head.insert(3, "#Published*")
    rows = []
    for name, change in judgement.run_changes.items():
        if name not in METRIC_NAMES:
            continue
        metric = next(metric for metric in METRICS if metric.name == name)
        unit = f" ({metric.unit})" if metric.unit else ""
        reference = number(change.reference_mean) if change.reference_mean is not None else "–"
        published = f'<td class="number">{PUBLISHED.get(name, "–")}</td>' if released else ""
        rows.append(
            f'<tr><th scope="row">{escape(metric.label + unit)}</th>{interval_cell(change.mean)}'
            f'<td class="number">{reference}</td>{published}'
            f"{interval_cell(change.difference, is_difference=True)}"
            f'<td class="number">{change.mean.num_values:,}</td></tr>'
        )
    note = (
        '<p class="soft">* the released checkpoint on LibriSpeech test-clean, as its authors '
        "report it: context for other speech, never a pass mark.</p>"
    )
    return table(head, rows, "Metrics") + (note if released else "")


def codes_section(findings: AuditFindings, judgement: Judgement, baseline: Baseline | None) -> str:
    """Usage of the codebooks over all rows, and where stored and fresh codes differ."""
    totals = total_counts(findings.tokens)
    if totals is None:
        return ""
    sizes = findings.tokens[0].codebook_sizes
    perplexity = 2.0 ** entropy_bits(totals)
    rows = []
    for book, (row, size) in enumerate(zip(totals, sizes, strict=True)):
        used = float((row > 0).sum() / size)
        known = baseline.perplexity[book] if baseline and book < len(baseline.perplexity) else None
        share = float(perplexity[book]) / size
        evenly = bar(share, f"perplexity {perplexity[book]:.0f}", known / size if known else None)
        rows.append(
            f'<tr><th scope="row">{book + 1}</th><td class="number">{100 * used:.1f} %</td>'
            f"<td>{evenly}</td>"
            f'<td class="number">{perplexity[book]:,.0f}</td><td>'
            f"{usage_curve(row[:size] / max(row.sum(), 1))}</td>"
            f'<td class="number">{_flips(judgement, book)}</td></tr>'
        )
    head = ["Codebook", "#Entries used", "Perplexity", "#", "Use, most to least", "#Differing"]
    listed = " or ".join(f"{size:,}" for size in dict.fromkeys(sizes))
    lead = (
        f"All {plural(sum(report.frames for report in findings.tokens), 'frame')} of all rows. "
        f"A codebook used evenly has a perplexity of {listed}, the number of its entries; the "
        "dotted line is even use. Differing: stored codes against fresh ones of the sampled clips."
    )
    content = table(head, rows, "Codebooks") + _paired_table(judgement)
    return section("Codebooks", lead, content)


def _paired_table(judgement: Judgement) -> str:
    """What is heard of codes that differ, where there are some."""
    rows = [
        f'<tr><th scope="row">{escape(LABELS[name])}</th>'
        f"{interval_cell(change.difference, is_difference=True)}"
        f'<td class="number">± {change.margin:g}</td><td>{escape(change.state)}</td>'
        f'<td class="number">{change.unmeasured:,}</td></tr>'
        for name, change in judgement.paired.items()
    ]
    if not rows:
        return ""
    head = ["Stored minus fresh codes", "#Mean, 95 % interval", "#Margin", "Verdict", "#No figure"]
    note = (
        '<p class="soft">The same clips decoded from stored and from fresh codes, each against its '
        "original; clips with equal codes count 0. PESQ is a mean without its tails.</p>"
    )
    return table(head, rows, "Stored minus fresh codes") + note


def _flips(judgement: Judgement, book: int) -> str:
    known = [shard for shard in judgement.shards if len(shard.flip_rates) > book]
    if not known:
        return "–"
    rate = float(np.mean([shard.flip_rates[book] for shard in known]))
    return "0" if rate == 0 else f"{100 * rate:.3g} %"
