"""The plan of a run: shards, hours, cost and size of the output, estimated before anything is done.

`xytok plan` calls it. It lists the inputs and reads samples of some shards, loads no codec and
writes nothing.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.corpus.filter_fields import check_filter_fields
from pipeline.corpus.listing import check_outside_outputs, list_shards, without_own_files
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import ShardSample, sample_shards
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError, RefusedError
from pipeline.fleet.resume import check_recorded_identity, find_backlog
from pipeline.fleet.scheduler import Scheduler
from pipeline.inspect.run_speed import speed_so_far
from pipeline.output.manifest import list_manifests
from pipeline.output.part_size import codes_bytes_per_second
from pipeline.output.run_record import RUN_RECORD, RunRecord, read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from pipeline.worker.codec_request import CodecRequest
from xy_codec.codes_shape import CodesShape

# The other columns of a row (key, text, offsets, hash), compressed.
_ROW_BYTES = 120
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of one worker, and where the figure is from."""

    times_realtime: float
    source: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is, what is done, and what the rest takes; `left` includes changed shards.

    `hours` are of speech: those of the busiest worker are `longest_hours`.
    """

    shards: int
    size_bytes: int
    done: int
    changed: tuple[str, ...]
    left: int
    left_bytes: int
    clips: float
    hours: float
    workers: int
    longest_hours: float
    largest_hours: float
    speed: Speed | None
    run: str | None
    shape: CodesShape | None
    where: str | None = None
    price: float | None = None

    @property
    def idle_share(self) -> float:
        """The share of the workers' time in which they wait for the last shards of others."""
        return 1 - self.hours / (self.longest_hours * self.workers) if self.longest_hours else 0.0

    def _speech_line(self) -> str:
        clips = plural(round(self.clips), "clip")
        if self.clips and not self.hours:
            return f"speech    of unknown length: {clips} without a duration"
        return f"speech    about {self.hours:,.2f} h in {clips} left"

    def _time_lines(self) -> list[str]:
        if not self.hours:
            return []
        tail = (
            f"tail      {self.idle_share:.0%} of the time of {plural(self.workers, 'worker')} is "
            "idle at the "
            f"end; the largest shard has {self.largest_hours:,.2f} h"
        )
        if self.speed is None:
            unknown = "unknown, and so is the time: run `xytok bench`, or pass `--speed`"
            return [f"speed     {unknown}", *([tail] if self.workers > 1 else [])]
        work_hours = self.hours / self.speed.times_realtime
        wall_hours = self.longest_hours / self.speed.times_realtime
        idle_hours = max(0.0, wall_hours * self.workers - work_hours)
        lines = [
            f"speed     {self.speed.times_realtime:,.1f} x real time a worker, {self.speed.source}",
            f"time      {wall_hours * 60:,.1f} minutes on {plural(self.workers, 'worker')}, "
            f"{work_hours:,.2f} worker-hours of work; the start of workers comes on top",
        ]
        if self.workers > 1:
            lines.append(f"{tail}, so {idle_hours:,.2f} worker-hours are idle")
        if self.price is not None:
            money = (work_hours + idle_hours) * self.price
            lines.append(f"cost      {money:,.2f} at {self.price:g} for a worker-hour, idle or not")
        return lines

    def _output_line(self) -> str:
        if self.output_bytes is None or self.shape is None:
            return "output    of unknown size: a plan loads no codec, and knows this one by no name"
        bits = f"{self.shape.bits_per_second:,.0f} bit/s"
        return f"output    about {self.output_bytes / _GIB:,.3f} GiB, codes of {bits}"

    @property
    def output_bytes(self) -> float | None:
        """The estimated size of the parts; None where the codec's rates are not known."""
        if self.shape is None:
            return None
        return self.hours * 3600 * codes_bytes_per_second(self.shape) + self.clips * _ROW_BYTES

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        run = "a new run" if self.run is None else f"resumes run {self.run}"
        return [
            f"shards    {self.shards:,} ({self.size_bytes / _GIB:,.2f} GiB), {self.done:,} done, "
            f"{self.left:,} left ({self.left_bytes / _GIB:,.2f} GiB); {run}",
            self._speech_line(),
            *(
                [f"where     `{self.where}` is not estimated: all clips count"]
                if self.where
                else []
            ),
            *self._time_lines(),
            self._output_line(),
            *(f"changed   {url} was replaced; needs `--redo-changed`" for url in self.changed),
        ]


def shape_of(codec: CodecRequest) -> CodesShape | None:
    """The shape of the codes of a codec that is known by name; its weights are not fetched.

    None where the name stands for several codecs, or where an option decides what only it knows.
    """
    from xy_codec.catalogue import families
    from xy_codec.fake import FAKES

    releases = [release for family in families() for release in family.releases]
    named = [release.shape for release in releases if release.source == codec.source]
    named += [shape for name, shape in FAKES.items() if name == codec.source]
    options = codec.chosen_options()
    depth = options.get("depth", max((shape.num_codebooks for shape in named), default=0))
    rates = {shape.bits_per_second for shape in named}
    if len(rates) != 1 or "bandwidth" in options or not isinstance(depth, int):
        return None
    return replace(named[0], codebook_sizes=named[0].codebook_sizes[:depth])


def check_codec(codec: CodecRequest) -> bool:
    """Whether the codec is on this machine, so that its weights can be hashed.

    Raises where it is there and is no codec, or cannot be as asked. Nothing is loaded or fetched.
    """
    from xy_codec.catalogue import find_codec
    from xy_codec.fake import FAKES
    from xy_codec.weights.source import bundled_names

    codec.check(may_be_elsewhere=True)
    if codec.source in bundled_names() or Path(codec.source).exists():
        family, place = find_codec(codec.source, codec.config)
        family.weight_files(place)
        return True
    return codec.source in FAKES


def make_plan(
    inputs: tuple[str, ...],
    output: str,
    storage: Storage,
    *,
    rules: ReadRules,
    codec: CodecRequest,
    max_shards: int | None = None,
    workers: int = 1,
    speed: Speed | None = None,
    bench_speed: Speed | None = None,
    price: float | None = None,
) -> Plan:
    """List the inputs, compare them with the output, and sample what is left.

    Without a `speed` that of the run so far counts, else `bench_speed`. Raises when a run with
    these options would refuse the output.
    """
    output = normalise(output)
    check_outside_outputs(output, storage)
    is_local = check_codec(codec)
    listed = list_shards(inputs, storage, rules.root, rules.clips_per_list)
    shards = without_own_files(listed, output)[:max_shards]
    run = _run_of(output, storage, codec, rules, is_local=is_local)
    manifests = list_manifests(storage, output) if run else []
    if not manifests:
        check_filter_fields(rules, shards, storage)
    backlog = find_backlog(shards, manifests, run.identity8 if run else "")
    left = [*backlog.left, *backlog.changed]
    sample = sample_shards(left, storage, rules) if left else ShardSample()
    estimates = [_estimate(shard, sample, rules.limit) for shard in left]
    return Plan(
        shards=len(shards),
        size_bytes=sum(max(0, shard.size_bytes) for shard in shards),
        done=len(backlog.done),
        changed=tuple(redact(shard.url) for shard in backlog.changed),
        left=len(left),
        left_bytes=sum(max(0, shard.size_bytes) for shard in left),
        clips=sum(clips for clips, _ in estimates),
        hours=sum(hours for _, hours in estimates),
        workers=max(1, min(workers, len(left))),
        longest_hours=longest_hours(left, [hours for _, hours in estimates], workers),
        largest_hours=max((hours for _, hours in estimates), default=0.0),
        speed=speed or (_speed_of_run(storage, output) if run else None) or bench_speed,
        run=None if run is None else run.identity8,
        shape=CodesShape.of(run.identity["codec"]) if run else shape_of(codec),
        where=rules.where,
        price=price,
    )


def _speed_of_run(storage: Storage, output: str) -> Speed | None:
    found = speed_so_far(storage, output)
    return found and Speed(
        found[0], f"as in the {plural(found[1], 'shard')} that this run has done"
    )


def longest_hours(shards: Sequence[Shard], hours: Sequence[float], workers: int) -> float:
    """Hours of speech of the worker that ends last, when shards are given out as a run does it."""
    hours_of = {shard.path: each for shard, each in zip(shards, hours, strict=True)}
    scheduler = Scheduler(shards)
    names = [f"{number:09}" for number in range(min(workers, len(shards)))]
    for name in names:
        scheduler.add_worker(name)
    # When each worker is done with its first shard; as in a run, second ones are given out later.
    busy: list[tuple[float, str]] = []
    for name in names:
        assignment = scheduler.take(name)
        assert assignment is not None
        busy.append((hours_of[assignment.shard.path], name))
    for name in names:
        scheduler.take(name)
    heapq.heapify(busy)
    ended = 0.0
    while busy:
        ended, name = heapq.heappop(busy)
        scheduler.finish(name, scheduler.in_hand(name)[0].path)
        while scheduler.take(name):
            pass
        in_hand = scheduler.in_hand(name)
        if in_hand:
            heapq.heappush(busy, (ended + hours_of[in_hand[0].path], name))
    return ended


def _estimate(shard: Shard, sample: ShardSample, limit: int | None) -> tuple[float, float]:
    """Clips and hours that a run takes from a shard, at most `limit` clips."""
    size_bytes = max(0, shard.size_bytes)
    clips, hours = sample.clips_in(size_bytes), sample.seconds_in(size_bytes) / 3600
    if limit is None or clips <= limit:
        return clips, hours
    return limit, hours * limit / clips


def _run_of(
    output: str, storage: Storage, codec: CodecRequest, rules: ReadRules, *, is_local: bool
) -> RunRecord | None:
    try:
        # Without a finished shard, a run may have other settings than the one before.
        if not storage.exists(join(output, RUN_RECORD)) or not list_manifests(storage, output):
            return None
    except (InputError, RefusedError):
        return None
    record = read_run_record(storage, output)
    from xy_codec.loading import checkpoint_sha256

    checkpoint = checkpoint_sha256(codec.source) if is_local else None
    check_recorded_identity(output, record, codec, rules, checkpoint)
    return record
