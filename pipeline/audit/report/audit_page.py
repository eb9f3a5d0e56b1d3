"""The audit's page: what `templates/audit.html.j2` shows of findings, judgement and baseline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.audit.codes.token_report import entropy_bits, total_counts
from pipeline.audit.findings import LABELS, METRICS, AudioSource, AuditFindings, ClipFinding, Metric
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.codes import allowed_flip_rate
from pipeline.audit.judge.faults import flip_rates
from pipeline.audit.judge.judgement import Change, Judgement, PairedChange, ShardVerdict
from pipeline.audit.judge.reference import finite_values
from pipeline.audit.report.clip_cards import (
    ClipCard,
    FactLine,
    Side,
    clip_card,
    score_facts,
    worst_clips,
)
from pipeline.audit.report.notes import asides, cost_words
from pipeline.audit.report.page import Tile, render_page
from pipeline.audit.report.plots import (
    Bar,
    Distribution,
    UsageCurve,
    bar,
    distribution,
    shard_strip,
    usage_curve,
)
from pipeline.audit.report.wording import (
    MEANINGS,
    headline,
    next_steps,
    number,
    shard_list,
    worst_first,
)
from pipeline.plural import plural
from xy_codec.xy.released import VARIANTS

_NUM_CLIPS = 8
_MAX_TABLE_SHARDS = 200
_TILES = ("sim", "stoi", "pesq_wb")
_MAIN = ("sim", "stoi", "pesq_nb", "pesq_wb")
# The one checkpoint that the paper measured; beside any other its table means nothing.
_RELEASED = VARIANTS[642][0]
# That checkpoint on LibriSpeech test-clean, as its authors report it; their SIM is of a speaker
# model of their own.
PUBLISHED = {"stoi": 0.92, "pesq_nb": 3.10, "pesq_wb": 2.50}
_BETTER = {"higher": " · higher is better", "lower": " · lower is better"}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of the whole run against the baseline."""

    label: str
    change: Change
    published: float | None


@dataclass(frozen=True, slots=True)
class PairedRow:
    """What is heard of codes that differ, by one metric."""

    label: str
    change: PairedChange


@dataclass(frozen=True, slots=True)
class CodebookRow:
    """How one codebook is used over all rows."""

    number: int
    used: float
    perplexity: float
    evenness: Bar
    curve: UsageCurve
    flip_rate: float | None


def render_report(
    findings: AuditFindings,
    judgement: Judgement,
    baseline: Baseline | None = None,
    audio: AudioSource | None = None,
    num_clips: int = _NUM_CLIPS,
) -> str:
    """The whole page as HTML; `audio` gives the sounds of the few clips it shows."""
    words = headline(judgement)
    shown = worst_first(judgement)[:_MAX_TABLE_SHARDS]
    released = findings.codec.get("name") == _RELEASED
    sizes = findings.tokens[0].codebook_sizes if findings.tokens else ()
    listenings = worst_clips(findings.clips, judgement, num_clips)
    return render_page(
        "audit.html.j2",
        f"{words.answer} – xytok audit of {findings.output}",
        findings=findings,
        judgement=judgement,
        baseline=baseline,
        words=words,
        asides=asides(findings, judgement),
        tiles=list(_tiles(findings, judgement)),
        steps=[(step, shard_list(step.shards)) for step in next_steps(judgement)],
        meanings=MEANINGS,
        strip=shard_strip(judgement) if judgement.shards else None,
        shards_told=[shard for shard in shown if _is_told(shard)],
        shards_ok=[shard for shard in shown if not _is_told(shard)],
        main_plots=list(_plots(findings, baseline, [m for m in METRICS if m.name in _MAIN])),
        more_plots=list(_plots(findings, baseline, [m for m in METRICS if m.name not in _MAIN])),
        metrics=_metric_rows(judgement, released, lambda name: name in _MAIN),
        more_metrics=_metric_rows(judgement, released, lambda name: name not in _MAIN),
        released=released,
        codebooks=list(_codebook_rows(findings, baseline)),
        codebook_sizes=list(dict.fromkeys(sizes)),
        num_frames=sum(report.frames for report in findings.tokens),
        paired=[PairedRow(LABELS[name], change) for name, change in judgement.paired.items()],
        clips=[_card(listening.clip, listening.why, audio) for listening in listenings],
        missing=list(_missing(judgement)),
        cost=cost_words(findings),
    )


def _tiles(findings: AuditFindings, judgement: Judgement) -> Iterator[Tile]:
    rows = sum(report.rows for report in findings.tokens)
    yield Tile(
        "Shards ok",
        f"{judgement.count('ok'):,} of {len(judgement.shards):,}",
        f"{plural(rows, 'row')}, all checked" if rows else "rows were not checked",
    )
    yield _codes_tile(findings, judgement)
    for name in _TILES:
        if change := judgement.run_changes.get(name):
            mean = change.mean
            note = f"± {number(mean.high - mean.estimate, 2)}, " if mean.is_known else ""
            note += f"mean of {plural(mean.num_values, 'clip')}"
            if change.reference_mean is not None:
                note += f"; baseline {number(change.reference_mean)}"
            yield Tile(LABELS[name], number(mean.estimate), note)


def _codes_tile(findings: AuditFindings, judgement: Judgement) -> Tile:
    compared = sum(shard.num_compared for shard in judgement.shards)
    equal = compared - sum(shard.num_differing for shard in judgement.shards)
    rates = flip_rates(findings.clips)
    if rates and not findings.same_platform:
        # Hardly a clip is equal there, which is no news: how many codes differ is.
        allowed = allowed_flip_rate(findings, judgement.thresholds)
        share = f"{100 * sum(rates) / len(rates):.2f} %"
        return Tile("Codes that differ", share, f"up to {100 * allowed:.2f} % is no drift here")
    figure = f"{equal:,} of {compared:,}" if compared else "–"
    return Tile("Clips with equal codes", figure, f"{plural(len(findings.clips), 'clip')} sampled")


def _is_told(shard: ShardVerdict) -> bool:
    return bool(shard.faults or shard.doubts or shard.odd_clips)


def _plots(
    findings: AuditFindings, baseline: Baseline | None, metrics: list[Metric]
) -> Iterator[Distribution]:
    for metric in metrics:
        values = finite_values(findings.drawn, metric.name)
        if not len(values):
            continue
        reference = baseline.whole(metric.name) if baseline else None
        if metric.name == "sim" and baseline and baseline.sim_model != findings.sim_model:
            reference = None
        about = f"{metric.unit}{_BETTER.get(metric.better, '')}".removeprefix(" · ")
        yield distribution(metric.label, values, reference.values if reference else None, about)


def _metric_rows(
    judgement: Judgement, released: bool, is_wanted: Callable[[str], bool]
) -> list[MetricRow]:
    changes = judgement.run_changes
    return [
        MetricRow(
            f"{metric.label} ({metric.unit})" if metric.unit else metric.label,
            changes[metric.name],
            PUBLISHED.get(metric.name) if released else None,
        )
        for metric in METRICS
        if metric.name in changes and is_wanted(metric.name)
    ]


def _codebook_rows(findings: AuditFindings, baseline: Baseline | None) -> Iterator[CodebookRow]:
    totals = total_counts(findings.tokens)
    if totals is None:
        return
    perplexities, rates = 2.0 ** entropy_bits(totals), flip_rates(findings.clips)
    sizes = findings.tokens[0].codebook_sizes
    for book, (counts, size) in enumerate(zip(totals, sizes, strict=True)):
        perplexity = float(perplexities[book])
        known = baseline.perplexity[book] if baseline and book < len(baseline.perplexity) else None
        yield CodebookRow(
            number=book + 1,
            used=float((counts > 0).sum() / size),
            perplexity=perplexity,
            evenness=bar(
                perplexity / size, f"perplexity {perplexity:.0f}", known / size if known else None
            ),
            curve=usage_curve(counts[:size] / max(counts.sum(), 1)),
            flip_rate=rates[book] if rates else None,
        )


def _card(clip: ClipFinding, why: str, audio: AudioSource | None) -> ClipCard:
    sides: list[Side] = []
    if sound := audio(clip) if audio else None:
        sides = [
            Side("Original", sound.original, sound.rate_hz),
            Side("Reconstruction from stored codes", sound.reconstruction, sound.rate_hz),
        ]
    return clip_card(clip, why, sides, [FactLine(score_facts(clip))])


def _missing(judgement: Judgement) -> Iterator[tuple[str, str, int]]:
    for what, reasons in judgement.missing.items():
        for reason, count in reasons.items():
            yield LABELS.get(what, what), reason, count
