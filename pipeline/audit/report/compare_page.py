"""The page of `xytok compare`: which side is better, by how much, and clips to hear both."""

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.audit.compare import ClipPair, Comparison, paired_values
from pipeline.audit.findings import METRICS
from pipeline.audit.judge.inference import MIN_SHARDS
from pipeline.audit.report.clip_cards import ClipCard, FactLine, Side, clip_card, main_scores
from pipeline.audit.report.page import Tile, render_page
from pipeline.audit.report.plots import Distribution, distribution
from pipeline.audit.report.wording import Headline, number, signed
from pipeline.plural import plural

# The sounds of a pair: original, A, B; None where they cannot be read.
PairSource = Callable[[ClipPair], list[Side] | None]
_TILES = ("sim", "stoi", "pesq_nb", "pesq_wb")
_LABELS = {metric.name: metric for metric in METRICS}
_NUM_CLIPS = 6


def render_comparison(comparison: Comparison, audio: PairSource | None = None) -> str:
    """The whole page as HTML."""
    words = compare_headline(comparison)
    metrics = [(_LABELS[name], result) for name, result in comparison.metrics.items()]
    return render_page(
        "compare.html.j2",
        f"{words.answer} – xytok compare",
        comparison=comparison,
        words=words,
        tiles=list(_tiles(comparison)),
        plots=list(_plots(comparison)),
        metrics=[pair for pair in metrics if pair[1].winner != "not judged"],
        shown_only=[pair for pair in metrics if pair[1].winner == "not judged"],
        clips=[_card(pair, audio) for pair in apart(comparison, _NUM_CLIPS)],
        min_shards=MIN_SHARDS,
    )


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
    if not comparison.is_heard:
        return Headline(
            "Nothing to judge by",
            f"No metric that judges was measured on both sides, {over}. Ask for SIM, STOI, PESQ or "
            "acoustics by `--metrics`, and look at why figures are missing with `xytok audit`.",
        )
    if not sides and comparison.unclear:
        unclear = ", ".join(_LABELS[name].label for name in comparison.unclear)
        lost = max(comparison.metrics[name].one_sided for name in comparison.unclear)
        one_sided = f" Of up to {plural(lost, 'clip')} one side alone has a figure." if lost else ""
        return Headline(
            "No difference was shown, nor ruled out",
            f"The sample is too small for {unclear}, {over}; raise `--per-shard`.{one_sided}",
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


def _tiles(comparison: Comparison) -> Iterator[Tile]:
    left_over = "none on one side only"
    if comparison.only_a or comparison.only_b:
        left_over = f"{comparison.only_a:,} only in A, {comparison.only_b:,} only in B"
    yield Tile("Clips on both sides", f"{len(comparison.pairs):,}", left_over)
    for name in _TILES:
        if result := comparison.metrics.get(name):
            note = f"A {number(result.mean_a.estimate)}, B {number(result.mean_b.estimate)}"
            yield Tile(f"{_LABELS[name].label}, B − A", signed(result.difference.estimate), note)


def _plots(comparison: Comparison) -> Iterator[Distribution]:
    for name in _TILES:
        left, right = paired_values(comparison.pairs, name)
        if len(left):
            yield distribution(_LABELS[name].label, right, np.sort(left), "of B against A")


def _card(pair: ClipPair, audio: PairSource | None) -> ClipCard:
    facts = [
        FactLine(main_scores(each.scores), side) for side, each in (("A", pair.a), ("B", pair.b))
    ]
    why = "among the clips where the two differ most"
    return clip_card(pair.a, why, (audio(pair) if audio else None) or (), facts)
