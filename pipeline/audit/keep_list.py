"""`keep.parquet`: of every row of the audited shards whether to train on it, and why not.

Exporters and readers take it. A row that token checks flag is decided by itself, one that its
shard's faults may have hit with its shard. The list is bound to the parts by their SHA-256.
"""

import io
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import METRIC_NAMES, AuditFindings, ClipFinding
from pipeline.audit.judge.faults import flip_rate, is_silence
from pipeline.audit.judge.judgement import VERDICTS, Fault, Judgement, ShardVerdict, Verdict
from pipeline.audit.judge.reference import by_shard
from pipeline.errors import PipelineError, UsageError
from pipeline.output.dropped import Dropped
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.storage.location import join

# What `--drop` takes, and the verdict each word means.
DROPS: dict[str, Verdict] = {
    "broken": "broken",
    "drift": "drift",
    "unusual": "unusual content",
    "unjudged": "cannot judge",
}
DEFAULT_DROP = ("broken", "drift")
# What speaks against a row: the verdict, and its reason.
Decision = tuple[Verdict, str]
# Faults that lie in the rows that token checks name; the other rows of the shard are good.
_OF_ROWS = ("damaged codes", "wrong length", "stuck frames")
_OF_CONTENT = ("noise", "other content", "unlike codes")
_STUCK = "stuck"

_FIELDS: list[Any] = [
    pa.field("shard", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("keep", pa.bool_(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("part_sha256", pa.string(), nullable=False),
    pa.field("flip_rate", pa.float32()),
    *(pa.field(name, pa.float32()) for name in METRIC_NAMES),
]
SCHEMA = pa.schema(_FIELDS)


def check_drop(words: str | None) -> tuple[str, ...]:
    """The words of `--drop`; the default without any."""
    if words is None:
        return DEFAULT_DROP
    asked = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [word for word in asked if word not in DROPS]
    if unknown:
        raise UsageError(
            f"`--drop {words}` has `{unknown[0]}`; expected some of `{','.join(DROPS)}`, separated "
            f"by commas. Leave the option out for `{','.join(DEFAULT_DROP)}`"
        )
    return tuple(asked)


def keep_list(
    findings: AuditFindings,
    judgement: Judgement,
    manifests: Iterable[Manifest],
    storage: Storage,
    drop: Sequence[str] = DEFAULT_DROP,
    out: Dropped | None = None,
) -> bytes:
    """The file, a row group for each shard in the order of their paths.

    Rows that `xytok drop` took out of the output are not kept. A part whose keys cannot be read is
    left out, and with it none of its rows is kept.
    """
    clips = by_shard(findings.clips)
    reports = {report.shard: report for report in findings.tokens}
    verdicts = {shard.shard: shard for shard in judgement.shards}
    dropped = {DROPS[word] for word in drop}
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for manifest in sorted(manifests, key=lambda each: each.shard):
            shard = manifest.shard
            keys = _keys(storage, findings.output, manifest)
            if keys is not None and len(keys) and shard in verdicts and shard in reports:
                sampled = clips.get(shard, [])
                found = _decisions(verdicts[shard], reports[shard], sampled, len(keys))
                gone = out.by_part.get(manifest.part.path, {}) if out else {}
                reasons = {key: f"dropped: {row['reason']}" for key, row in gone.items()}
                decided = [_kept(row, dropped) for row in found]
                keep, why = ([each[side] for each in decided] for side in (0, 1))
                for row, key in enumerate(keys.to_pylist() if gone else ()):
                    if key in reasons:
                        keep[row], why[row] = False, reasons[key]
                columns = {
                    "shard": [shard] * len(keys),
                    "row": np.arange(len(keys)),
                    "key": keys,
                    "keep": keep,
                    "reason": why,
                    "part_sha256": [manifest.part.sha256] * len(keys),
                    **_figures(sampled, len(keys)),
                }
                writer.write_table(pa.table(columns, schema=SCHEMA))
    return sink.getvalue()


def _keys(storage: Storage, output: str, manifest: Manifest) -> Any | None:
    fs, path = storage.filesystem(join(output, manifest.part.path))
    try:
        with fs.open(path, "rb") as file:
            part: Any = pq.ParquetFile(file)
            return part.read(columns=["key"], use_threads=False).column("key")
    except (PipelineError, pa.ArrowException, OSError, KeyError, ValueError):
        return None


def _decisions(
    shard: ShardVerdict, report: TokenReport, clips: Sequence[ClipFinding], num_rows: int
) -> list[tuple[Decision, ...]]:
    """All that speaks against every row, worst first; nothing against good ones."""
    whole = [(each.verdict, each.name) for each in shard.faults if _is_whole(each, shard)]
    whole += [("cannot judge", doubt) for doubt in shard.doubts[:1]]
    found = [tuple(whole)] * num_rows
    for kind, rows in sorted(report.flagged.items()):
        own: Decision = ("broken", kind.replace("_", " "))
        if kind == _STUCK and is_silence(clips, rows):
            own = ("unusual content", "silence")
        for row in rows:
            if row < num_rows:
                found[row] = (*found[row], own)
    return [tuple(sorted(each, key=lambda one: -VERDICTS.index(one[0]))) for each in found]


def _kept(found: Sequence[Decision], dropped: Collection[Verdict]) -> tuple[bool, str]:
    """Whether to keep a row, and the worst of what it is dropped for, else of what it has."""
    hit = [each for each in found if each[0] in dropped]
    reason = next((f"{verdict}: {name}" for verdict, name in (*hit, *found)), "")
    return not hit, reason


def _is_whole(item: Fault, shard: ShardVerdict) -> bool:
    """Whether a fault may have hit any row, and not only those that token checks name."""
    if item.name != "silence":
        return item.name not in _OF_ROWS
    # Silence that was heard in sampled clips is in others too; it is then all there is of content.
    others = any(each.name in _OF_CONTENT for each in shard.faults)
    return shard.content == item.verdict and not others


def _figures(clips: Sequence[ClipFinding], num_rows: int) -> dict[str, NDArray[np.object_]]:
    """What was measured of the sampled rows; empty for all others."""
    columns = {name: np.full(num_rows, None, dtype=object) for name in ("flip_rate", *METRIC_NAMES)}
    for clip in clips:
        if clip.row < num_rows:
            if clip.drift is not None:
                columns["flip_rate"][clip.row] = flip_rate(clip.drift)
            for name in METRIC_NAMES:
                columns[name][clip.row] = getattr(clip.scores, name)
    return columns
