"""The end of an export: files that speak of all shards, and the record `export.json`."""

from collections import Counter
from collections.abc import Mapping

from pipeline.errors import OutputError
from pipeline.export.contract import (
    Shard,
)
from pipeline.export.exporter import Exporter
from pipeline.export.plan import Plan
from pipeline.export.record import ExportRecord, SplitCounts
from pipeline.output.manifest import WrittenFile
from pipeline.plural import plural
from pipeline.storage.location import redact


def finish_export(exporter: Exporter, plan: Plan) -> ExportRecord:
    """Write the files that speak of all shards; what `export.json` says."""
    destination, by_split = exporter.destination, _shards_by_split(exporter)
    _check_whole(exporter, plan, by_split)
    small: dict[str, bytes] = {}
    folders = {
        name: f"{destination.url}/{destination.folder_of(n)}".rstrip("/")
        for n, name in enumerate(exporter.splits)
        if n in by_split
    }
    for split, shards in by_split.items():
        found = exporter.format.finish(folders[exporter.splits[split]], shards)
        small |= {f"{destination.folder_of(split)}{name}": found[name] for name in found}
    small |= exporter.format.finish_all(folders)
    written = [destination.write_small(path, content) for path, content in small.items()]
    files = [file for shards in by_split.values() for shard in shards for file in shard.files]
    facts: Counter[str] = Counter()
    for shard in (shard for shards in by_split.values() for shard in shards):
        facts.update(shard.facts)
    return _record(exporter, plan, tuple(files + written), facts)


def _check_whole(exporter: Exporter, plan: Plan, by_split: Mapping[int, list[Shard]]) -> None:
    written = {split: sum(shard.samples for shard in by_split[split]) for split in by_split}
    expected = {split: count.clips for split, count in plan.counts.items()}
    if written != expected:
        url = redact(exporter.destination.url)
        raise OutputError(
            f"`{url}` has records of {plural(sum(written.values()), 'clip')}, {plan.clips} were "
            "to be exported; expected all, and no other command that works in this folder; run the "
            "same command again"
        )


def _shards_by_split(exporter: Exporter) -> dict[int, list[Shard]]:
    by_split: dict[int, list[Shard]] = {}
    for split, number in sorted(exporter.destination.finished_shards()):
        by_split.setdefault(split, []).append(exporter.destination.read_shard(split, number))
    return by_split


def _record(
    exporter: Exporter, plan: Plan, files: tuple[WrittenFile, ...], facts: Mapping[str, int]
) -> ExportRecord:
    shape, made, run = exporter.format.shape, exporter.format, exporter.run
    codes = sum(count.frames for count in plan.counts.values()) * shape.num_codebooks
    return ExportRecord(
        format=made.name,
        layout=made.layout,
        offsets=made.offsets,
        num_codebooks=shape.num_codebooks,
        codebook_sizes=shape.codebook_sizes,
        frame_rate_hz=shape.frame_rate_hz,
        samples_per_frame=shape.samples_per_frame,
        input_rate_hz=shape.input_rate_hz,
        output_rate_hz=shape.output_rate_hz,
        clips=plan.clips,
        seconds=sum(count.seconds for count in plan.counts.values()),
        splits={name: plan.counts.get(n, SplitCounts()) for n, name in enumerate(exporter.splits)},
        left_out=dict(sorted(plan.left_out.items())),
        facts=facts,
        trainer_ram_bytes=round(made.ram_bytes_per_code * codes),
        files=files,
        output=redact(run.output),
        identity=run.record.identity,
        provenance=run.record.provenance,
        request=exporter.identity,
        command=exporter.request.command,
    )
