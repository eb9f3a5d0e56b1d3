"""What is read of one shard before a codec is asked: tokens checked, clips chosen, originals."""

import time
from dataclasses import dataclass, field

from pipeline.audit.originals import Original, SourceMap, read_originals
from pipeline.audit.part_file import PartFile
from pipeline.audit.sampling import SamplePlan, choose_rows, sampled_clips
from pipeline.audit.token_checks import CheckedPart, CodeShape, check_part, source_problems
from pipeline.errors import PipelineError
from pipeline.manifest import Manifest
from pipeline.storage import Storage


@dataclass(frozen=True, slots=True)
class ShardAuditSettings:
    """What to look at in each shard."""

    output: str
    plan: SamplePlan
    shape: CodeShape
    storage: Storage
    source_map: SourceMap = field(default_factory=SourceMap)
    reencode: bool = True


@dataclass(frozen=True, slots=True)
class ShardSource:
    """What was read of one shard, before the codec is asked."""

    checked: CheckedPart
    part: PartFile | None
    originals: tuple[Original, ...]
    seconds: float


def read_shard(settings: ShardAuditSettings, manifest: Manifest) -> ShardSource:
    """Check a part, choose clips and fetch their originals; needs no codec."""
    started = time.perf_counter()
    url = settings.source_map.locate(manifest.url)
    problems = source_problems(settings.storage, url, manifest)
    try:
        part = PartFile.read(settings.storage, settings.output, manifest)
    except PipelineError as error:
        problems.append(f"the part `{manifest.part.path}` cannot be read: {error}")
        return ShardSource(check_part(None, manifest, settings.shape, problems), None, (), 0.0)
    checked = check_part(part, manifest, settings.shape, problems)
    table = part.columns_without_codes()
    rows = choose_rows(table, manifest.shard, settings.plan)
    clips = sampled_clips(table, part.codes_of(rows), manifest, url)
    rate_hz = settings.shape.input_rate_hz
    originals = tuple(read_originals(clips, settings.storage, rate_hz))
    return ShardSource(checked, part, originals, time.perf_counter() - started)
