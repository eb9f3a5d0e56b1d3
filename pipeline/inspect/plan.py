"""The plan of a run: shards, hours, cost and size of the output, estimated before anything is done.

`xytok plan` calls it. It lists the inputs and reads samples of some shards, loads no codec and
writes nothing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.corpus.filter_fields import check_filter_fields
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import ShardSample, sample_shards
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError
from pipeline.fleet.resume import check_recorded_identity, find_backlog
from pipeline.output.manifest import list_manifests
from pipeline.output.part_size import codes_bytes_per_second
from pipeline.output.run_record import RUN_RECORD, RunRecord, read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from pipeline.worker.codec_request import CodecRequest
from xy_codec.codes_shape import CodesShape

# The other columns of a row (key, text, offsets, hash), compressed.
_ROW_BYTES = 120
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is, what is done, and what the rest takes; `left` includes changed shards."""

    shards: int
    size_bytes: int
    done: int
    changed: tuple[str, ...]
    left: int
    left_bytes: int
    clips: float
    hours: float
    speed: float
    gpus: int
    largest_hours: float
    run: str | None
    shape: CodesShape | None
    where: str | None = None

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU at the assumed speed."""
        return self.hours / self.speed

    @property
    def wall_hours(self) -> float:
        """Hours with all GPUs; never less than the largest shard takes on one."""
        return max(self.gpu_hours / self.gpus, self.largest_hours / self.speed)

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
            f"speech    about {self.hours:,.2f} h in {self.clips:,.0f} clips are left",
            *(
                [f"where     `{self.where}` is not estimated: all clips count"]
                if self.where
                else []
            ),
            f"cost      {self.gpu_hours:,.2f} GPU-hours, {self.wall_hours * 60:,.1f} minutes on "
            f"{self.gpus} workers, at {self.speed:,.0f} x real time each (an assumption: "
            "`--speed`; `xytok bench` measures it); start-up comes on top",
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
    from xy_codec.catalogue import Wish, find_codec
    from xy_codec.fake import FAKES
    from xy_codec.weights.source import bundled_names

    wish = Wish(codec.precision, compiled=codec.compiled, options=codec.chosen_options())
    if codec.source in bundled_names() or Path(codec.source).exists():
        family, place = find_codec(codec.source, codec.config)
        family.check(wish)
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
    speed: float,
    gpus: int,
) -> Plan:
    """List the inputs, compare them with the output, and sample what is left.

    Raises when a run with these options would refuse the output.
    """
    output = normalise(output)
    shards = list_shards(inputs, storage, rules.root)[:max_shards]
    is_local = check_codec(codec)
    run = _run_of(output, storage, codec, rules, is_local=is_local)
    manifests = list_manifests(storage, output) if run else []
    if rules.where and not manifests:
        check_filter_fields(rules.where, shards, storage)
    backlog = find_backlog(shards, manifests, run.identity8 if run else "")
    left = [*backlog.left, *backlog.changed]
    sample = sample_shards(left, storage) if left else ShardSample()
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
        speed=speed,
        gpus=gpus,
        largest_hours=max((hours for _, hours in estimates), default=0.0),
        run=None if run is None else run.identity8,
        shape=CodesShape.of(run.identity["codec"]) if run else shape_of(codec),
        where=rules.where,
    )


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
        if not storage.exists(join(output, RUN_RECORD)):
            return None
    except InputError:
        return None
    record = read_run_record(storage, output)
    from xy_codec.loading import checkpoint_sha256

    checkpoint = checkpoint_sha256(codec.source) if is_local else None
    check_recorded_identity(output, record, codec, rules, checkpoint)
    return record
