"""Measures codecs on the same clips: sound, speed, a recogniser's errors, and the ASR probe.

Each codec tokenizes the shards into a run of its own below the output, which an audit measures and
the probe reads. The same request again goes on where it ended: runs and probes are kept.
"""

import logging
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import xxhash

from pipeline.audit.audit import (
    AuditedRun,
    AuditRequest,
    measure_here,
    open_audit,
    open_run,
    run_audit,
)
from pipeline.audit.compare import trial_run
from pipeline.audit.findings import ClipAudio, ClipFinding
from pipeline.audit.metrics.heard_text import Recogniser, load_recogniser
from pipeline.audit.metrics.speaker_similarity import DEFAULT_MODEL
from pipeline.audit.report.clip_cards import Playback
from pipeline.audit.sample.originals import SourceMap
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.listing import list_shards
from pipeline.errors import InputError, UsageError
from pipeline.evaluate.clip_names import name_of
from pipeline.evaluate.probe.clips import SpokenClip, check_apart, check_texts, read_clips
from pipeline.evaluate.probe.inputs import ProbeInput, codec_input, table_input
from pipeline.evaluate.probe.plan import ProbePlan
from pipeline.evaluate.probe.result import ProbeResult, probe
from pipeline.evaluate.probe.training import Checkpoint
from pipeline.evaluate.recognised import Heard, Remembering, heard_in
from pipeline.evaluate.speed import measure_speed
from pipeline.evaluate.system import SOUND, Evaluation, System
from pipeline.evaluate.transcripts import Transcript
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from pipeline.worker.codec_request import CodecRequest

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Hashable)
# What of the audit's metrics is in the table.
_GROUPS = ("sim", "stoi", "pesq")
# Clips whose sounds are kept: more than a page has, because some codecs may not take some.
_MOST_SOUNDS = 12


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What the user asked for.

    Attributes:
        codecs: what is measured, by the names that the table shows.
        runs: outputs of `xytok tokenize`, whose codes the probe reads with tables of its own.
        data: the shards that everything is measured on.
        probe_data: shards with texts that the probe learns from; without them there is no probe.
        limit: only the first clips of every shard of `data`.
        asr_model: the recogniser of reconstructions; without it there is none.
        speed_seconds: about how long each direction is timed; 0 leaves speeds out.
    """

    codecs: Mapping[str, CodecRequest]
    runs: tuple[str, ...]
    data: tuple[str, ...]
    output: str
    probe_data: tuple[str, ...] = ()
    probe: ProbePlan = field(default_factory=ProbePlan)
    sample: SamplePlan = field(default_factory=SamplePlan)
    sim_model: str = DEFAULT_MODEL
    asr_model: str | None = None
    limit: int | None = None
    speed_seconds: float = 5.0
    processes: int | None = None
    device: str = "auto"
    storage: Storage = field(default_factory=Storage)
    quiet: bool = False


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Measure one system after the other, and keep what all have."""
    _check(request)
    recogniser = None
    if request.asr_model:
        recogniser = Remembering(load_recogniser(request.asr_model, request.device))
    systems = [
        *(_measure_codec(request, name, recogniser) for name in request.codecs),
        *(_measure_run(request, output) for output in request.runs),
    ]
    return replace(
        _with_common_clips(systems),
        data=tuple(map(redact, request.data)),
        probe_data=tuple(map(redact, request.probe_data)),
        sample=request.sample,
        limit=request.limit,
    )


def _check(request: EvaluateRequest) -> None:
    if not request.codecs and not request.runs:
        raise UsageError(
            "Neither `--codec` nor `--run` was given; expected at least one to measure. Name a "
            "codec, for example `--codec xy-nano`"
        )
    if request.runs and not request.probe_data:
        raise UsageError(
            "`--run` was given without `--probe-data`; expected both, because codes alone are only "
            "probed. Name transcribed shards that the run has tokenized"
        )
    # A wrong path fails before the first codec is loaded.
    measured, learned = (
        {shard.url: shard for shard in list_shards(shards, request.storage)} if shards else {}
        for shards in (request.data, request.probe_data)
    )
    both = measured.keys() & learned.keys()
    if both:
        raise UsageError(
            f"Shard `{redact(min(both))}` is in `--data` and in `--probe-data`; "
            "expected each in one, or the probe is tested on what it learned. Name other shards"
        )
    if learned:
        check_texts("--data", [*measured.values()], request.storage)
        check_texts("--probe-data", [*learned.values()], request.storage)


def folder_of(request: EvaluateRequest, name: str) -> str:
    """The folder of a system below the output."""
    return join(request.output, "systems", re.sub(r"[^\w.=-]+", "_", name).strip("_") or "_")


def _measure_codec(request: EvaluateRequest, name: str, recogniser: Recogniser | None) -> System:
    logger.info("Measuring codec `%s`", redact(name))
    wish, folder = request.codecs[name], folder_of(request, name)
    output = join(folder, "data")
    trial_run(wish, request.data, output, request.storage, request.limit)
    asked = AuditRequest(
        output=output,
        storage=request.storage,
        plan=request.sample,
        codec=wish.source,
        codec_config=wish.config,
        device=wish.device,
        precision=wish.precision,
        groups=_GROUPS,
        sim_model=request.sim_model,
        reencode=False,
        processes=request.processes,
        quiet=request.quiet,
    )
    run, codec = open_audit(asked)
    run = _of_shards(run, request.data, request.storage)
    findings = run_audit(asked, run, codec, partial(measure_here, recogniser=recogniser))
    probed = None
    if request.probe_data:
        learning = join(folder, "probe-data")
        trial_run(wish, request.probe_data, learning, request.storage, None)
        learned = open_run(request.storage, learning)
        learned = _of_shards(learned, request.probe_data, request.storage)
        train = read_clips(learned, request.storage)
        test = read_clips(run, request.storage)
        probed = _probe(request, folder, codec_input(codec), train, test)
    return System(
        name,
        is_run=False,
        codec=run.codec,
        shape=codec.shape,
        sim_model=findings.sim_model,
        clips=findings.drawn,
        sounds=_some_sounds(findings.drawn, Playback(run, codec, request.storage, SourceMap())),
        heard=heard_in(recogniser.name, findings.drawn) if recogniser else Heard(),
        speed=measure_speed(codec, request.speed_seconds) if request.speed_seconds else None,
        probe=probed,
    )


def _of_shards(run: AuditedRun, shards: Sequence[str], storage: Storage) -> AuditedRun:
    """A run with the shards that are asked for now: another evaluation may have left it others."""
    wanted = {shard.path for shard in list_shards(shards, storage)}
    kept = tuple(manifest for manifest in run.manifests if manifest.shard in wanted)
    return replace(run, manifests=kept)


def _some_sounds(clips: Sequence[ClipFinding], play: Playback) -> dict[str, ClipAudio]:
    """The sounds of a few clips, the same ones of every codec that takes them."""
    order = sorted(
        clips, key=lambda clip: xxhash.xxh64_intdigest(repr((clip.shard, clip.key)).encode())
    )
    found = {name_of(clip): play(clip) for clip in order[:_MOST_SOUNDS]}
    return {name: sounds for name, sounds in found.items() if sounds is not None}


def _measure_run(request: EvaluateRequest, output: str) -> System:
    logger.info("Probing the codes of `%s`", redact(output))
    run = open_run(request.storage, output)
    train, test = (
        read_clips(
            run, request.storage, [each.url for each in list_shards(shards, request.storage)]
        )
        for shards in (request.probe_data, request.data)
    )
    folder = folder_of(request, output)
    probed = _probe(request, folder, table_input(run.shape), train, test)
    return System(output, is_run=True, codec=run.codec, shape=run.shape, probe=probed)


def _probe(
    request: EvaluateRequest,
    folder: str,
    source: ProbeInput,
    train: Sequence[SpokenClip],
    test: Sequence[SpokenClip],
) -> ProbeResult:
    import torch

    check_apart(train, test)
    device = request.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"

    def show(step: int, loss: float) -> None:
        logger.info("Probe: step %d of %d, loss %.3f", step, request.probe.steps, loss)

    place = Checkpoint(request.storage, join(folder, "probe.pt"))
    return probe(source, train, test, request.probe, device=device, checkpoint=place, show=show)


def _with_common_clips(systems: Sequence[System]) -> Evaluation:
    heard = [system for system in systems if not system.is_run]
    measured, left_out = _in_all([{name_of(clip) for clip in system.clips} for system in heard])
    probed = [system.probe for system in systems if system.probe]
    tested, untested = _in_all([{each.key for each in found.transcripts} for found in probed])
    if (heard and not measured) or (probed and not tested):
        raise InputError(
            "The systems have no clip in common; expected that all take some of the clips of "
            "`--data`. Look at the rejects of the runs below `--output` with `xytok status`"
        )
    spoken = [{each.key for each in system.heard.reconstructions} for system in heard]
    listened, _ = _in_all([each & measured for each in spoken if each])
    kept = [
        replace(
            system,
            clips=tuple(clip for clip in system.clips if name_of(clip) in measured),
            heard=replace(
                system.heard,
                reconstructions=_only(system.heard.reconstructions, listened),
                originals=_only(system.heard.originals, listened),
            ),
            probe=replace(system.probe, transcripts=_only(system.probe.transcripts, tested))
            if system.probe
            else None,
        )
        for system in systems
    ]
    taken = {name: _scored_in_all(kept, name) for name in SOUND}
    return Evaluation(tuple(each.with_figures(taken) for each in kept), left_out, untested)


def _scored_in_all(systems: Sequence[System], name: str) -> frozenset[str]:
    """The clips with a value of a figure in every system that has any: others favour one."""
    found = [set(system.scored(name)) for system in systems]
    return _in_all([each for each in found if each])[0]


def _only(transcripts: Sequence[Transcript], names: Collection[str]) -> tuple[Transcript, ...]:
    return tuple(each for each in transcripts if each.key in names)


def _in_all(sides: Sequence[set[T]]) -> tuple[frozenset[T], int]:
    """What every side has, and how much only some have."""
    if not sides:
        return frozenset(), 0
    common = frozenset(set.intersection(*sides))
    return common, len(set.union(*sides)) - len(common)
