"""An audit from an output folder to findings, measured here or on a Ray cluster.

Judging and reporting start from the findings.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.audit.codes.shard_audit import ShardAudit, ShardAuditSettings
from pipeline.audit.codes.token_checks import with_duplicates
from pipeline.audit.findings import AuditFindings
from pipeline.audit.measure import ShardFindings, measure_shards
from pipeline.audit.metrics.heard_text import Recogniser, load_recogniser
from pipeline.audit.metrics.score_pool import ScorePool
from pipeline.audit.metrics.scores import USUAL_GROUPS, metric_versions
from pipeline.audit.metrics.speaker_similarity import DEFAULT_MODEL, device_speaker_model
from pipeline.audit.sample.originals import SourceMap
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.decode import RESAMPLER
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import STEM_SUFFIXES
from pipeline.errors import InputError, UsageError
from pipeline.fleet.progress import show_progress
from pipeline.fleet.ray.cluster import results_as_ready
from pipeline.inspect.status import num_left
from pipeline.output.dropped import Dropped, read_dropped
from pipeline.output.identity import decoder_of
from pipeline.output.manifest import Manifest, list_manifests, read_named_manifests
from pipeline.output.run_record import read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise
from pipeline.worker.codec_request import CodecRequest, Precision, check_checkpoint
from pipeline.worker.staged_codec import find_staged
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec
from xy_codec.errors import CheckpointError

# Beside these, codes may differ in rounding only, and the recorded flip rate is the yardstick.
_PLATFORM = ("precision", "pack_geometry", "attention", "platform", "libraries")
# A task loads codec and metrics once; so many shards make that cheap and still spread well.
_SHARDS_PER_TASK = 16
_CORES_PER_TASK = 4


@dataclass(frozen=True, slots=True)
class AuditedRun:
    """One output folder as it was when the audit began; only finished shards count.

    Attributes:
        notes: what the run recorded beside its identity.
        unfinished_shards: None where only some shards were asked for.
    """

    output: str
    identity: Mapping[str, Any]
    notes: Mapping[str, Any]
    manifests: tuple[Manifest, ...]
    unfinished_shards: int | None
    dropped: Dropped = field(default_factory=Dropped)

    @property
    def codec(self) -> Mapping[str, Any]:
        """The identity of the codec that made the codes."""
        return dict(self.identity["codec"])

    @property
    def shape(self) -> CodesShape:
        """What its codes look like."""
        return CodesShape.of(self.codec)

    @property
    def expected_flip_rate(self) -> tuple[float, ...] | None:
        """How many codes of each codebook differ from those of `exact`, as the run measured."""
        rate = self.notes.get("flip_rate")
        return tuple(float(value) for value in rate) if rate else None

    def same_platform(self, codec: Codec) -> bool:
        """Whether re-encoding here must give the very same codes."""
        ours = codec.identity.to_dict()
        # Format 1 recorded fewer of these.
        same = all(self.codec.get(name, ours[name]) == ours[name] for name in _PLATFORM)
        tools = (self.identity.get("resampler"), self.identity.get("decoder"))
        decoder = decoder_of(ReadRules.of_reading(self.identity))
        return same and tools == (RESAMPLER, decoder)


def open_run(storage: Storage, output: str, only: Sequence[str] = ()) -> AuditedRun:
    """Read the record and the manifests of an output.

    Args:
        only: parts of shard paths; with some, only shards that have one of them in their path.
    """
    output = normalise(output)
    record = read_run_record(storage, output)

    def is_wanted(shard: str) -> bool:
        return not only or any(word in shard for word in only)

    names = [
        name
        for name in list_manifests(storage, output)
        # A stem is a path without its suffix; the manifest has the path itself.
        if name.identity8 == record.identity8
        and any(is_wanted(f"{name.stem}{suffix}") for suffix in STEM_SUFFIXES)
    ]
    read = read_named_manifests(storage, output, names)
    manifests = {manifest.shard: manifest for manifest in read if is_wanted(manifest.shard)}
    if not manifests:
        raise (UsageError if only else InputError)(
            f"Output `{output}` has no finished shard{' that fits `--shard`' if only else ''}; "
            "expected at least one manifest of its run. Wait for one, or look at `xytok status`."
        )
    finished = {manifest.part.path for manifest in manifests.values()}
    parts = storage.list_files(join(output, "tokens"))
    waiting = sum(part.url.removeprefix(output).lstrip("/") not in finished for part in parts)
    return AuditedRun(
        output=output,
        identity=record.identity,
        notes=record.provenance,
        manifests=tuple(manifests[shard] for shard in sorted(manifests)),
        # A run that is still going, or was ended, has begun no part for most of what is left.
        unfinished_shards=None if only else max(waiting, num_left(storage, output, len(manifests))),
        dropped=read_dropped(storage, output),
    )


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What the user asked for."""

    output: str
    storage: Storage = field(default_factory=Storage)
    plan: SamplePlan = field(default_factory=SamplePlan)
    codec: str | None = None
    codec_config: str | None = None
    device: str = "auto"
    precision: Precision | None = None
    groups: tuple[str, ...] = USUAL_GROUPS
    sim_model: str = DEFAULT_MODEL
    asr_model: str | None = None
    source_map: SourceMap = field(default_factory=SourceMap)
    only: tuple[str, ...] = ()
    reencode: bool = True
    processes: int | None = None
    expected_flip_rate: float | None = None
    list_sources: bool = False
    quiet: bool = False


# Measures the shards of a run, here or on a cluster.
Measure = Callable[[AuditRequest, AuditedRun, Codec], Iterator[ShardFindings]]


def run_audit(
    request: AuditRequest,
    run: AuditedRun,
    codec: Codec,
    measure: Measure | None = None,
) -> AuditFindings:
    """Measure every finished shard of a run, and show how far it is."""
    started = time.perf_counter()
    found: list[ShardFindings] = []
    clips = 0
    with show_progress(len(run.manifests), " shards", quiet=request.quiet) as show:
        for shard in (measure or measure_here)(request, run, codec):
            found.append(shard)
            clips += len(shard.clips)
            show(len(found), plural(clips, "clip"))
    found.sort(key=lambda shard: shard.checked.report.shard)
    return AuditFindings(
        output=run.output,
        seed=request.plan.seed,
        sim_model=next((clip.sim_model for shard in found for clip in shard.clips), ""),
        codec=run.codec,
        reencoded_with=codec.identity.to_dict(),
        same_platform=run.same_platform(codec),
        expected_flip_rate=_expected_flip_rate(request, run),
        clips=tuple(clip for shard in found for clip in shard.clips),
        tokens=tuple(with_duplicates([shard.checked for shard in found])),
        unfinished_shards=run.unfinished_shards,
        seconds=time.perf_counter() - started,
        reencoded=request.reencode,
        sampling=asdict(request.plan),
        versions=metric_versions(),
        asr_model=request.asr_model or "",
    )


def _expected_flip_rate(request: AuditRequest, run: AuditedRun) -> tuple[float, ...] | None:
    """What the user measured between both platforms, or else what the run recorded."""
    if request.expected_flip_rate is None:
        return run.expected_flip_rate
    return (request.expected_flip_rate,) * run.shape.num_codebooks


def open_audit(request: AuditRequest) -> tuple[AuditedRun, Codec]:
    """The run of a request, and the codec that made it."""
    run = open_run(request.storage, request.output, request.only)
    return run, load_codec_of(request, run)


def load_codec_of(request: AuditRequest, run: AuditedRun) -> Codec:
    """The codec that made a run, checked against its record."""
    wanted = codec_request(request, run)
    try:
        codec = wanted.load()
    except CheckpointError as error:
        if request.codec is not None:
            raise
        raise UsageError(
            f"Output `{run.output}` was made with codec `{wanted.source}`, which is not there; "
            f"expected its checkpoint to re-encode with. Pass `--codec SOURCE`. ({error})"
        ) from error
    check_checkpoint(codec.identity, run.codec, run.output)
    return codec


def codec_request(request: AuditRequest, run: AuditedRun) -> CodecRequest:
    """The codec to re-encode with: as the run had it, where it put it into its output."""
    wanted = CodecRequest.recorded(
        run.codec,
        run.notes,
        source=request.codec,
        config=request.codec_config,
        precision=request.precision,
        device=request.device,
    )
    staged = find_staged(wanted.source, run.output, request.storage)
    return replace(wanted, staged=staged)


def measure_here(
    request: AuditRequest, run: AuditedRun, codec: Codec, recogniser: Recogniser | None = None
) -> Iterator[ShardFindings]:
    """Measure in this process and its score processes; `recogniser` is one that is loaded."""
    return _measure(request, run, codec, run.manifests, request.processes, recogniser)


def measure_on_ray(
    request: AuditRequest, run: AuditedRun, _codec: Codec
) -> Iterator[ShardFindings]:
    """Measure on the cluster of `RAY_ADDRESS`, or one started here; tasks load their own codec."""

    def start(ray: Any) -> list[Any]:
        resources = ray.cluster_resources()
        cores = max(min(int(request.processes or _CORES_PER_TASK), int(resources.get("CPU", 1))), 1)
        gpus = 1 if resources.get("GPU", 0) >= 1 and request.device != "cpu" else 0
        task: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=3)(_measure_batch)
        return [
            task.remote(request, run, batch, cores) for batch in _batches(run, resources, cores)
        ]

    for findings in results_as_ready(start):
        yield from findings


def _measure_batch(
    request: AuditRequest, run: AuditedRun, manifests: Sequence[Manifest], cores: int
) -> list[ShardFindings]:
    """The body of a task: its own codec, its own score processes."""
    codec = codec_request(request, run).load()
    check_checkpoint(codec.identity, run.codec, run.output)
    return list(_measure(request, run, codec, manifests, cores))


def _batches(
    run: AuditedRun, resources: Mapping[str, float], cores: int
) -> Iterator[Sequence[Manifest]]:
    """Shards in tasks: enough of them for every core to have work, none too small to pay."""
    slots = max(int(resources.get("CPU", 1)) // cores, 1)
    size = max(1, min(_SHARDS_PER_TASK, -(-len(run.manifests) // slots)))
    for start in range(0, len(run.manifests), size):
        yield run.manifests[start : start + size]


def _measure(
    request: AuditRequest,
    run: AuditedRun,
    codec: Codec,
    manifests: Sequence[Manifest],
    processes: int | None,
    recogniser: Recogniser | None = None,
) -> Iterator[ShardFindings]:
    settings, groups, speaker = _settings(request, run), request.groups, None
    if "sim" in groups:
        speaker = device_speaker_model(request.sim_model, request.device)
    if speaker:
        groups = tuple(name for name in groups if name != "sim")
    if request.asr_model and recogniser is None:
        recogniser = load_recogniser(request.asr_model, request.device)
    audit = ShardAudit(settings, codec, recogniser)
    with ScorePool(processes, groups, request.sim_model) as pool:
        yield from measure_shards(manifests, settings, audit, pool, speaker)


def _settings(request: AuditRequest, run: AuditedRun) -> ShardAuditSettings:
    """What to do with each shard."""
    return ShardAuditSettings(
        output=run.output,
        plan=request.plan,
        shape=run.shape,
        storage=request.storage,
        source_map=request.source_map,
        reencode=request.reencode,
        rules=ReadRules.of_reading(run.identity),
        dropped=run.dropped,
        list_sources=request.list_sources,
    )
