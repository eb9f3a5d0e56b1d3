"""The page of `xytok compare`: which side is better, by how much, and clips to hear both."""

from collections.abc import Callable
from html import escape

import numpy as np

from pipeline.audit.findings import METRICS, ClipFinding
from pipeline.audit.judge.comparison import ClipPair, Comparison, MetricComparison, paired_values
from pipeline.audit.judge.inference import MIN_SHARDS
from pipeline.audit.report.page import interval_cell, prose, render_page, section, table, tile
from pipeline.audit.report.plots import distribution_plot, number, signed
from pipeline.audit.report.wording import Headline, plural
from pipeline.audit.report.worst_clips import Listening, Side, clip_card, scores_line

# The sounds of a pair: original, A, B; None where they cannot be read.
PairSource = Callable[[ClipPair], list[Side] | None]
_TILES = ("sim", "stoi", "pesq_nb", "pesq_wb")
_LABELS = {metric.name: metric for metric in METRICS}
_NUM_CLIPS = 6


def compare_headline(comparison: Comparison) -> Headline:
    """Which side is better, in one sentence, and why."""
    if not comparison.pairs:
        return Headline(
            "Nothing in common",
            "Not one sampled clip is in both; compare outputs made from the same shards.",
        )
    sides = {side for _, side in comparison.winners}
    over = f"over the same {plural(len(comparison.pairs), 'clip')}"
    if comparison.num_shards < MIN_SHARDS:
        over += f" of {plural(comparison.num_shards, 'shard')}, and for those only"
    if comparison.too_few:
        return Headline(
            "Too few clips to say",
            f"Only {plural(len(comparison.pairs), 'clip')} on both sides; raise `--per-shard`.",
        )
    if not sides and comparison.unclear:
        unclear = ", ".join(_LABELS[name].label for name in comparison.unclear)
        return Headline(
            "No difference was shown, nor ruled out",
            f"The sample is too small for {unclear}, {over}; raise `--per-shard`.",
        )
    if not sides:
        return Headline(
            "No difference that matters",
            f"In every metric that judges, A and B are equivalent within its margin, {over}.",
        )
    names = {
        side: ", ".join(_LABELS[name].label for name, won in comparison.winners if won == side)
        for side in sides
    }
    if len(sides) == 2:
        return Headline(
            "Each is better at something",
            f"A is better in {names['A']}; B is better in {names['B']}, {over}.",
        )
    side = sides.pop()
    return Headline(f"{side} sounds better", f"Better in {names[side]}, {over}.")


def render_comparison(comparison: Comparison, audio: PairSource | None = None) -> str:
    """The whole page as HTML."""
    words = compare_headline(comparison)
    head = (
        f'<p class="kicker">xytok compare · A <code>{escape(comparison.label_a)}</code> '
        f"· B <code>{escape(comparison.label_b)}</code></p>"
        f'<div class="verdict"><h1>{escape(words.answer)}</h1>'
        f"<p>{prose(words.reason)}</p></div>{_tiles(comparison)}"
    )
    content = [head, _metrics_section(comparison), _clips_section(comparison, audio)]
    content.append(_method_section(comparison))
    return render_page(f"{words.answer} – xytok compare", "\n".join(content))


def _tiles(comparison: Comparison) -> str:
    tiles = [tile("Clips on both sides", f"{len(comparison.pairs):,}", _left_over(comparison))]
    for name in _TILES:
        if name in comparison.metrics:
            result = comparison.metrics[name]
            difference = result.difference
            note = f"A {number(result.mean_a.estimate)}, B {number(result.mean_b.estimate)}"
            figure = signed(difference.estimate)
            tiles.append(tile(f"{_LABELS[name].label}, B − A", figure, note))
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _left_over(comparison: Comparison) -> str:
    if not comparison.only_a and not comparison.only_b:
        return "none on one side only"
    return f"{comparison.only_a:,} only in A, {comparison.only_b:,} only in B"


def _metrics_section(comparison: Comparison) -> str:
    plots = []
    for metric in METRICS:
        left, right = paired_values(comparison.pairs, metric.name)
        if metric.name in _TILES and len(left):
            plot = distribution_plot(f"{metric.label} of B against A", right, np.sort(left))
            plots.append(
                f"<figure><figcaption><strong>{escape(metric.label)}</strong></figcaption>"
                f"{plot}</figure>"
            )
    key = '<ul class="key"><li><i class="own"></i>B</li><li><i class="line"></i>A</li></ul>'
    rows = "".join(_row(result) for result in comparison.metrics.values())
    # What a phone shows without scrolling: which is better, and by how much.
    head = ["Metric", "Better", "#B − A, same clips", "#A", "#B", "#Margin", "#p", "#Clips"]
    lead = "Every clip is its own control: differences are taken clip by clip, then averaged."
    content = f'{key}<div class="plots main">{"".join(plots)}</div>{table(head, [rows], "Metrics")}'
    return section("Differences", lead, content)


def _row(result: MetricComparison) -> str:
    metric = _LABELS[result.metric]
    unit = f" ({metric.unit})" if metric.unit else ""
    winner = {"A": "<strong>A</strong>", "B": "<strong>B</strong>", "not judged": "–"}.get(
        result.winner, result.winner
    )
    margin = number(result.margin) if result.margin is not None else "–"
    p_value = "&lt; 0.001" if result.adjusted_p < 0.001 else number(result.adjusted_p)
    return (
        f'<tr><th scope="row">{escape(metric.label + unit)}</th><td>{winner}</td>'
        f"{interval_cell(result.difference, is_difference=True)}"
        f'<td class="number">{number(result.mean_a.estimate)}</td>'
        f'<td class="number">{number(result.mean_b.estimate)}</td>'
        f'<td class="number">{margin}</td>'
        f'<td class="number">{p_value}</td>'
        f'<td class="number">{result.difference.num_values:,}</td></tr>'
    )


def _clips_section(comparison: Comparison, audio: PairSource | None) -> str:
    picked = apart(comparison, _NUM_CLIPS)
    cards = []
    for pair in picked:
        sides = (audio(pair) if audio else None) or []
        listening = Listening(pair.a, "among the clips where the two differ most")
        cards.append(clip_card(listening, sides, _facts(pair)))
    if not cards:
        return ""
    return section("Hear the difference", "Original, A and B of the same clip.", "".join(cards))


def apart(comparison: Comparison, count: int) -> list[ClipPair]:
    """The clips whose differences are largest, measured in standard deviations of each metric."""
    total = np.zeros(len(comparison.pairs))
    for name, result in comparison.metrics.items():
        if _LABELS[name].better not in ("higher", "lower"):
            continue
        found = [pair.difference(name) for pair in comparison.pairs]
        values = np.array([0.0 if value is None else value for value in found])
        spread = float(values.std())
        if spread > 0 and result.difference.num_values > 1:
            total += np.abs(values) / spread
    order = np.argsort(-total)[:count]
    return [comparison.pairs[position] for position in order]


def _facts(pair: ClipPair) -> str:
    sides = (("A", pair.a), ("B", pair.b))
    return "".join(_side_facts(name, clip) for name, clip in sides)


def _side_facts(name: str, clip: ClipFinding) -> str:
    return f"<span>{name}: {', '.join(scores_line(clip.scores))}</span>"


def _method_section(comparison: Comparison) -> str:
    limits = comparison.thresholds
    text = (
        "<p>Both sides were sampled by the same hash of key and seed. What is tested is how much "
        "better B is, clip by clip; of metrics that are best at zero, how much nearer. A side is "
        "better when the mean of that is at least the margin and survives a paired t test "
        f"corrected for all metrics (at {100 * limits.false_alarms:g} %); both are equivalent when "
        "its 90 % interval lies within the margin, and else it is unclear. Clips of a shard, and "
        f"of a speaker in it, count together; of fewer than {MIN_SHARDS} shards the answer is for "
        f"these only. SIM is from <code>{escape(comparison.sim_model)}</code>."
        "</p>"
    )
    return section("How it was measured", "", text)
