"""Running shards through one worker with the fake codec, and looking at what came out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.output.identity import build_identity
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.worker import ShardWorker
from xy_codec.contract import Codec
from xy_codec.fake import FakeCodec


@dataclass(frozen=True)
class Result:
    """One shard's files, read back."""

    manifest: Manifest
    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]

    @property
    def keys(self) -> list[str]:
        return [row["key"] for row in self.rows]

    @property
    def reasons(self) -> dict[str, str]:
        return {row["key"]: row["reason"] for row in self.rejects}


def worker_settings(output: Path, rules: ReadRules, tuning: Tuning | None = None) -> WorkerSettings:
    identity = build_identity(FakeCodec().identity, rules)
    return WorkerSettings(str(output), identity, rules, Storage(), tuning or Tuning(2))


def run_shards(
    shards: list[Shard],
    output: Path,
    rules: ReadRules | None = None,
    codec: Codec | None = None,
    tuning: Tuning | None = None,
    storage: Storage | None = None,
) -> dict[str, Result]:
    settings = worker_settings(output, rules or ReadRules(), tuning)
    settings = replace(settings, storage=storage or settings.storage)
    worker = ShardWorker(settings, codec or FakeCodec())
    results = {}
    for outcome in worker.run(iter(shards)):
        assert outcome.manifest is not None, outcome.fault
        manifest = outcome.manifest
        rows = pq.read_table(output / manifest.part.path).to_pylist()
        rejects = pq.read_table(output / manifest.reject_file.path).to_pylist()
        assert manifest.clips_seen == len(rows) + len(rejects) + manifest.filtered
        results[outcome.shard.path] = Result(manifest, rows, rejects)
    return results


def run_tar(tar: Path, output: Path, **rules: Any) -> Result:
    shards = list_shards([str(tar)], Storage())
    (result,) = run_shards(shards, output, ReadRules(**rules)).values()
    return result
