"""The heat strip: every shard a column, its verdict, codes and metrics the rows."""

from collections.abc import Sequence

from pipeline.audit.findings import CODE_BITS, LABELS, ORDER_BITS, TOGETHER
from pipeline.audit.judge.judgement import VERDICTS, Judgement, ShardVerdict
from pipeline.audit.report.page import STYLES
from pipeline.audit.report.plots import Cell, StripRow, number, shard_strip

_MAX_COLUMNS = 240
_SHOWN = (
    TOGETHER,
    "sim",
    "stoi",
    "pesq_wb",
    "log_mel_distance_db",
    "cer_increase",
    "dnsmos_original",
    "gain_db",
    CODE_BITS,
    ORDER_BITS,
)
_LABELS = {
    **LABELS,
    "dnsmos_original": "DNSMOS original",
    "cer_increase": "character error",
    ORDER_BITS: "bits saved",
}
_SEVERITY = ("none", "better-1", "better-2", "ok", "worse-1", "worse-2", "worse-3")


def strip_plot(judgement: Judgement) -> str:
    """The strip as SVG; runs with many shards share a column and show the worst of it."""
    columns = _columns(judgement.shards)
    shown = [name for name in _SHOWN if any(name in shard.changes for shard in judgement.shards)]
    rows = [
        StripRow("Verdict", [_worst_verdict(group) for group in columns]),
        StripRow(
            "Codes equal", [_worst([_codes_cell(shard) for shard in group]) for group in columns]
        ),
    ]
    for name in shown:
        cells = [_worst([_cell(shard, name) for shard in group]) for group in columns]
        rows.append(StripRow(_LABELS[name], cells))
    bad = sum(shard.verdict != "ok" for shard in judgement.shards)
    return shard_strip(rows, f"{len(judgement.shards)} shards, {bad} of them not ok")


def _columns(shards: Sequence[ShardVerdict]) -> list[Sequence[ShardVerdict]]:
    per_column = -(-len(shards) // _MAX_COLUMNS) or 1
    return [shards[start : start + per_column] for start in range(0, len(shards), per_column)]


def _worst_verdict(group: Sequence[ShardVerdict]) -> Cell:
    worst = max(group, key=lambda shard: VERDICTS.index(shard.verdict))
    faults = ", ".join(fault.name for fault in worst.faults)
    title = f"{worst.shard}: {worst.verdict}" + (f" ({faults})" if faults else "")
    return Cell(STYLES[worst.verdict], title)


def _worst(cells: Sequence[Cell]) -> Cell:
    return max(cells, key=lambda cell: _SEVERITY.index(cell.style))


def _codes_cell(shard: ShardVerdict) -> Cell:
    if not shard.num_compared:
        return Cell("none", f"{shard.shard}: no codes were compared")
    title = f"{shard.shard}: {shard.num_differing} of {shard.num_compared} clips differ"
    # Differences that are no drift are those that another platform or precision explains.
    is_bad = shard.num_differing and shard.verdict in ("drift", "broken")
    return Cell("worse-3" if is_bad else "ok", title)


def _cell(shard: ShardVerdict, metric: str) -> Cell:
    change = shard.changes.get(metric)
    if change is None:
        return Cell("none", f"{shard.shard}: {_LABELS[metric]} not measured")
    if metric == TOGETHER:
        if change.p_value is None or change.worse_by is None:
            return Cell("none", f"{shard.shard}: {_LABELS[metric]} not judged")
        title = f"{shard.shard}: {_LABELS[metric]} {number(change.worse_by)} SD worse"
        return Cell(_step(change.unusual, change.p_value), title)
    mean = f"{shard.shard}: {_LABELS[metric]} {number(change.mean.estimate)}"
    if change.p_value is None or change.difference is None:
        return Cell("none", mean)
    title = f"{mean}, {number(change.difference.estimate)} from the reference"
    return Cell(_step(change.unusual, change.p_value), title)


def _step(unusual: bool, p_value: float) -> str:
    """The colour of a cell by how surprising its metric is before any correction."""
    if unusual:
        return "worse-3"
    for limit, style in ((0.001, "worse-2"), (0.02, "worse-1")):
        if p_value < limit:
            return style
    for limit, style in ((0.999, "better-2"), (0.98, "better-1")):
        if 1 > p_value > limit:
            return style
    return "ok"
