"""A run from start to end: list the shards, claim the output, find what is left, work, sum up.

`xytok tokenize` calls `run_tokenize` with an engine; the same call again resumes. Reject rate and
damage are checked here, because they decide how the command ends.
"""

import logging
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from pipeline.corpus.filter_fields import check_filter_fields
from pipeline.corpus.listing import check_outside_outputs, list_shards, without_own_files
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import DamageError, InputError, NotFoundError, RejectRateError, list_lines
from pipeline.fleet.drain import end_on_sigterm
from pipeline.fleet.engine import Engine
from pipeline.fleet.job_id import current_job
from pipeline.fleet.lease import Lease, hold_lease, newest_lease
from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.progress import show_run
from pipeline.fleet.progress_event import ProgressEvents
from pipeline.fleet.resume import (
    admit_changed,
    find_backlog,
    read_finished_shards,
    read_if_all_done,
)
from pipeline.fleet.summary import RunSummary
from pipeline.output.events import EventLog
from pipeline.output.identity import build_identity, check_same_identity
from pipeline.output.index import forget_shards, update_index
from pipeline.output.manifest import ManifestName, list_manifests
from pipeline.output.retries import outer_of
from pipeline.output.run_record import claim_output, read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import check_no_secret, normalise, redact
from pipeline.storage.retries import describe
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.writer import ShardOutcome

logger = logging.getLogger(__name__)
_AtLeastOne = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the user asked for, beside the engine; a wrong value is refused when it is built."""

    inputs: tuple[str, ...]
    output: str
    rules: ReadRules
    storage: Storage
    tuning: Tuning
    max_shards: _AtLeastOne | None = None
    max_reject_rate: _Share = 1.0
    redo_changed: bool = False
    allow_damaged: bool = False
    wait_for_output: bool = False
    quiet: bool = False
    codec: CodecRequest | None = None
    # In place of inputs, where the shards are known.
    shards: tuple[Shard, ...] | None = None

    @property
    def has_all_shards(self) -> bool:
        """Whether no shard of the inputs is left out."""
        return self.max_shards is None and self.shards is None


def run_tokenize(
    request: RunRequest, engine: Engine, watch: Callable[[RunProgress], None] = lambda _: None
) -> RunSummary:
    """Do every shard that is left and return the summary; the same call again resumes.

    `watch` gets the progress about every second.
    """
    for url in (request.output, *(request.codec.urls() if request.codec else ())):
        check_no_secret(url)
    output = normalise(request.output)
    if not request.rules.retry:
        check_outside_outputs(output, request.storage)
    engine.check_codec()
    # Shards are listed before the codec is loaded, so that a wrong path fails within a second.
    rules = request.rules
    shards: Sequence[Shard] = request.shards or without_own_files(
        list_shards(request.inputs, request.storage, rules.root, rules.clips_per_list), output
    )
    shards = shards[: request.max_shards]
    logger.info("Reading what the output `%s` holds already", redact(output))
    lease_before = newest_lease(request.storage, output)
    is_alone = lease_before is None or lease_before.is_released
    manifests = list_manifests(request.storage, output)
    finished = _summary_if_finished(request, output, shards, manifests)
    if finished is not None:
        return finished
    if not manifests and request.shards is None:
        check_filter_fields(request.rules, shards, request.storage)
    with (
        end_on_sigterm(),
        hold_lease(request.storage, output, wait=request.wait_for_output) as lease,
    ):
        if not is_alone or lease.followed != lease_before:
            # Another run may have done some shards, or all, until the lease was taken.
            manifests = list_manifests(request.storage, output)
            finished = _summary_if_finished(request, output, shards, manifests)
        return finished or _run_alone(request, engine, output, shards, manifests, lease, watch)


def _run_alone(
    request: RunRequest,
    engine: Engine,
    output: str,
    shards: Sequence[Shard],
    manifests: Sequence[ManifestName],
    lease: Lease,
    watch: Callable[[RunProgress], None],
) -> RunSummary:
    outer = outer_of(output) if request.rules.retry else output
    # What a run that finished no shard recorded binds nobody, unless it may still be at work.
    is_bound = bool(manifests or request.rules.retry or lease.is_from_silent)
    recorded = _recorded_codec(request.storage, outer) if is_bound else None
    engine.stage_codec(output, request.storage.after_first_contact())
    codec = engine.identity(recorded)
    if request.rules.retry and recorded is not None:
        check_same_identity(redact(outer), recorded, codec.to_dict())
    identity = build_identity(codec, request.rules)
    notes = provenance(request)
    if recorded is None and codec.precision != "exact" and shards:
        notes |= _flip_rate(request, engine, shards[0])
    # Loading may have taken long enough to lose the output to another run.
    lease.may_go_on()
    tuning = asdict(request.tuning)
    claim_output(request.storage, output, identity, notes, tuning, may_replace=not is_bound)
    backlog = find_backlog(shards, manifests, identity.identity8, are_all=request.has_all_shards)
    left = admit_changed(backlog, request.storage, output, redo_changed=request.redo_changed)
    logger.info(
        "%d of %s done, %d left", len(backlog.done), plural(len(shards), "shard"), len(left)
    )
    summary = RunSummary(
        shards_total=len(shards),
        shards_skipped=len(backlog.done),
        bytes_total=sum(max(0, shard.size_bytes) for shard in left),
        where=request.rules.where,
    )
    if left:
        again = (ManifestName.of(shard, identity.identity8) for shard in left)
        forget_shards(request.storage, output, again)
        storage = request.storage.after_first_contact()
        settings = WorkerSettings(output, identity, request.rules, storage, request.tuning)
        events = EventLog(storage, output)
        ours = sum(name.identity8 == identity.identity8 for name in manifests)
        events.write(
            "run_started",
            shards=len(left),
            manifests=ours - len(backlog.stale),
            identity8=identity.identity8,
            job=current_job(),
        )
        events.flush()
        finished = [shard.url for shard in backlog.done[:2]]
        outcomes = engine.run(settings, left, lease.may_go_on, finished)
        _work(request, outcomes, summary, events, watch)
    update_index(request.storage, output)
    if backlog.done:
        logger.info("Reading how %s of earlier runs ended", plural(len(backlog.done), "shard"))
    before = read_finished_shards(request.storage, output, identity.identity8, backlog.done)
    summary.recall(before)
    _check_reject_rate(summary, request.max_reject_rate, is_over=True)
    return summary


def _recorded_codec(storage: Storage, output: str) -> Mapping[str, Any] | None:
    try:
        codec: Mapping[str, Any] = read_run_record(storage, output).identity["codec"]
    except NotFoundError:
        return None
    return codec


def _summary_if_finished(
    request: RunRequest, output: str, shards: Sequence[Shard], manifests: Sequence[ManifestName]
) -> RunSummary | None:
    if request.codec is None or not manifests:
        return None
    finished = read_if_all_done(
        *(request.storage, output, request.codec, request.rules, shards, manifests),
        are_all=request.has_all_shards,
    )
    if finished is None:
        return None
    summary = RunSummary(len(shards), len(shards), bytes_total=0, where=request.rules.where)
    summary.recall(finished)
    _check_reject_rate(summary, request.max_reject_rate, is_over=True)
    return summary


def _flip_rate(request: RunRequest, engine: Engine, shard: Shard) -> dict[str, Any]:
    """What an audit in `exact` has to expect; measured once, before the first shard of a run."""
    logger.info(
        "Measuring how many codes differ from those of `exact`, on a minute of `%s`",
        redact(shard.url),
    )
    return {"flip_rate": engine.flip_rate(shard, request.storage, request.rules)}


def provenance(request: RunRequest) -> dict[str, Any]:
    """Who started a run, where, when and with which codec; recorded once and never compared."""
    return {
        "codec_source": redact(request.codec.source) if request.codec else None,
        "codec_options": request.codec.chosen_options() if request.codec else {},
        "codec_config": redact(request.codec.config or "") or None if request.codec else None,
        "xytok": metadata.version("xytok"),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def check_finished(summary: RunSummary, *, allow_damaged: bool) -> None:
    """Raise when shards failed, nothing became codes, or shards are damaged: the exit code."""
    if summary.failed:
        raise InputError(
            f"{len(summary.failed)} of {plural(summary.shards_total, 'shard')} failed:\n"
            + list_lines([e if url in e else f"{url}: {e}" for url, e in summary.failed])
            + "\nexpected all to finish; run the same command again to try only them"
        )
    why_no_codes = summary.why_no_codes()
    if why_no_codes and summary.damaged:
        raise InputError(
            f"The output holds no codes: of the clips of {plural(summary.shards_total, 'shard')} "
            f"{why_no_codes}, and damaged are:\n"
            + list_lines([url for url, _ in summary.damaged])
            + "\nexpected whole tars or Parquet files with audio; look whether they are, and fetch "
            "them again"
        )
    if why_no_codes:
        raise InputError(
            f"The output holds no codes: of the clips of {plural(summary.shards_total, 'shard')} "
            f"{why_no_codes}; expected codes of some; look at `rejects/` in the output, and "
            "compare `--where` with the JSON of a clip"
        )
    if summary.damaged and not allow_damaged:
        raise DamageError(
            f"{plural(len(summary.damaged), 'shard is', 'shards are')} damaged:\n"
            + list_lines([f"{url}: {plural(holes, 'hole')}" for url, holes in summary.damaged])
            + "\nwhat could be read is in their parts, the holes are in their manifests; expected "
            "whole tars; replace them and pass `--redo-changed`, or pass `--allow-damaged`"
        )


def _work(
    request: RunRequest,
    outcomes: Iterator[ShardOutcome | RunProgress],
    summary: RunSummary,
    events: EventLog,
    watch: Callable[[RunProgress], None],
) -> None:
    error: str | None = None
    try:
        log = ProgressEvents(events)
        with show_run(summary, quiet=request.quiet) as show:
            for told in outcomes:
                if isinstance(told, RunProgress):
                    summary.told = told
                    show(told)
                    log.show(told)
                    watch(told)
                    continue
                summary.take(told)
                _record(events, told)
                _check_reject_rate(summary, request.max_reject_rate, is_over=False)
    except BaseException as failure:
        error = describe(failure)
        raise
    finally:
        # An engine's outcomes are a generator: closing it stops the workers.
        if isinstance(outcomes, Generator):
            outcomes.close()
        events.write("run_ended", **summary.to_dict(), error=error)
        events.close()


def _record(events: EventLog, outcome: ShardOutcome) -> None:
    manifest = outcome.manifest
    fields = {"shard": redact(outcome.shard.url), "worker": outcome.worker}
    if manifest is None:
        events.write("shard_failed", **fields, error=outcome.fault and outcome.fault.message)
        return
    events.write(
        "shard_done",
        **fields,
        source8=outcome.shard.source8,
        seconds=round(outcome.seconds, 3),
        codes=manifest.codes,
        rejects=manifest.rejects,
        filtered=manifest.filtered,
        source_seconds=manifest.source_seconds,
        holes=len(manifest.holes),
        worker_times_out_of_memory=outcome.times_out_of_memory,
        worker_reruns_in_exact=outcome.reruns_in_exact,
    )


def _check_reject_rate(summary: RunSummary, allowed: float, *, is_over: bool) -> None:
    rate = summary.reject_rate(is_over=is_over)
    if rate > allowed:
        reasons = [f"{n} {reason}" for reason, n in summary.rejects.most_common(5)]
        if summary.rejects_before:
            reasons.append(f"{summary.rejects_before:,} of shards done before")
        filtered = summary.counts.filtered + summary.filtered_before
        left = f" ({filtered} filtered ones left out)" if filtered else ""
        raise RejectRateError(
            f"{rate:.1%} of the clips so far{left} are rejects ({', '.join(reasons)}); at most "
            f"{allowed:.1%} are allowed; look at `rejects/` in the output, then mend the input or "
            "pass a higher `--max-reject-rate`"
        )
