"""A small run to export: three shards of short clips by four speakers, one in each without text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.export.export import run_export
from pipeline.export.exporter import ExportRequest
from pipeline.export.record import ExportRecord
from pipeline.storage.client import Storage
from tests.support.audit_run import make_run
from tests.support.shard_maker import Member, audio, emilia_json, write_shard

SHARDS = ("EN/a", "EN/b", "FR/c")
CLIPS_EACH = 8
WITHOUT_TEXT = 2  # the third clip of every shard


def make_export_run(folder: Path, codec: str = "fake") -> Path:
    for number, shard in enumerate(SHARDS):
        write_shard(folder / f"in/{shard}.tar", _members(number, shard))
    return make_run(folder / "out", str(folder / "in"), codec, root=str(folder / "in"))


def _members(number: int, shard: str) -> list[Member]:
    members: list[Member] = []
    for place in range(CLIPS_EACH):
        key = f"{shard.replace('/', '_')}_{place:04d}"
        fields: dict[str, Any] = {"speaker": f"S{place % 4}", "language": shard[:2].lower()}
        fields |= {"dnsmos": 2.0 + place / 4, "style": {"mood": "calm" if place % 2 else "loud"}}
        if place == WITHOUT_TEXT:
            fields["text"] = None
        members.append((f"{key}.json", emilia_json(key, **fields)))
        # No two clips are alike, except the last of a shard, which is the first of all.
        seed = 0 if place == CLIPS_EACH - 1 else number * CLIPS_EACH + place
        members.append((f"{key}.mp3", audio(0.3 + (seed % CLIPS_EACH) / 10, seed=seed)))
    return members


def rows_of(output: Path) -> list[dict[str, Any]]:
    """The rows of all parts, in the order of an export."""
    parts = sorted(output.glob("tokens/**/*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def export(output: Path, destination: Path | str, format: str, **changes: Any) -> ExportRecord:
    request: dict[str, Any] = {"storage": Storage()} | changes
    return run_export(ExportRequest(str(output), str(destination), format, **request))


def files_in(folder: Path) -> Mapping[str, bytes]:
    """All files below a folder, by their paths."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
