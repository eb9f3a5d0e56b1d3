"""What is read of one shard before a codec is asked: tokens checked, clips chosen, originals."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.audit.findings import SourceReport, TokenReport
from pipeline.audit.sample.originals import Original, OriginalReader, SourceMap
from pipeline.audit.sample.part_file import DAMAGED, PartFile
from pipeline.audit.sample.sampling import SamplePlan, choose_rows, row_weights, sampled_clips
from pipeline.audit.sample.source_checks import check_source, list_source
from pipeline.audit.tokens.token_checks import CheckedPart, check_part
from pipeline.corpus.rules import ReadRules
from pipeline.errors import PipelineError
from pipeline.output.dropped import Dropped
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from xy_codec.codes_shape import CodesShape

# Rows of each kind of fault that are heard in every shard.
_SUSPECTS = 10


@dataclass(frozen=True, slots=True)
class ShardAuditSettings:
    """What to look at in each shard; `rules` are those of the run that read it."""

    output: str
    plan: SamplePlan
    shape: CodesShape
    storage: Storage
    rules: ReadRules
    source_map: SourceMap = field(default_factory=SourceMap)
    reencode: bool = True
    list_sources: bool = False
    dropped: Dropped = field(default_factory=Dropped)


@dataclass(frozen=True, slots=True)
class ShardSource:
    """What was read of one shard, before the codec is asked."""

    checked: CheckedPart
    part: PartFile | None
    originals: tuple[Original, ...]
    seconds: float


def read_shard(settings: ShardAuditSettings, manifest: Manifest) -> ShardSource:
    """Check a part and its tar, choose clips and fetch their originals; needs no codec."""
    started = time.perf_counter()
    storage, shape = settings.storage, settings.shape
    url = settings.source_map.locate(manifest.url)
    source = check_source(storage, settings.output, url, manifest)
    try:
        part = PartFile.read(storage, settings.output, manifest)
        dropped = settings.dropped.keys_of(manifest.part.path)
        checked = check_part(part, manifest, shape, source=source, dropped=dropped)
        table = part.columns_without_codes()
        drawn = choose_rows(table, manifest.shard, settings.plan, dropped)
        rows = sorted({*drawn, *_suspects(checked.report)})
        weights = row_weights(table, drawn, settings.plan, dropped)
        clips = sampled_clips(table, part.codes_of(rows), manifest, url, weights)
    except (PipelineError, *DAMAGED) as error:
        problem = f"the part `{manifest.part.path}` cannot be read: {error}"
        return ShardSource(check_part(None, manifest, shape, [problem], source), None, (), 0.0)
    where = (storage, settings.output, manifest, url, settings.rules)
    reader = OriginalReader.of_shard(*where, shape.input_rate_hz, source.size_bytes)
    originals = tuple(reader.all(clips))
    source = _listed(settings, manifest, part, url, _sampled(source, originals))
    checked = replace(checked, report=replace(checked.report, source=source))
    return ShardSource(checked, part, originals, time.perf_counter() - started)


def _suspects(report: TokenReport) -> set[int]:
    """Some rows of every kind of fault, evenly over the part: heard, whatever chance draws."""
    found: set[int] = set()
    for rows in report.flagged.values():
        found.update(rows[:: -(-len(rows) // _SUSPECTS)])
    return found


def _sampled(source: SourceReport, originals: Sequence[Original]) -> SourceReport:
    """What the bytes of the sampled originals say about their tar."""
    others = [original.clip.key for original in originals if original.same_audio is False]
    if not others:
        return source
    change = (
        f"{len(others)} of {len(originals)} sampled originals are not the bytes that were "
        f"tokenized, the first is `{others[0]}`"
    )
    return replace(source, changes=(*source.changes, change))


def _listed(
    settings: ShardAuditSettings, manifest: Manifest, part: PartFile, url: str, source: SourceReport
) -> SourceReport:
    """With `--list-sources`, every clip of the shard held against the part."""
    if not settings.list_sources:
        return source
    where = (settings.storage, settings.output, manifest, part, url)
    try:
        return list_source(*where, settings.rules, source)
    except PipelineError as error:
        return replace(source, unlisted=str(error))
