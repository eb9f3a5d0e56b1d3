"""A small real run of the bundled shards, and ways to plant faults in copies of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.audit import AuditRequest, open_audit, run_audit
from pipeline.audit.findings import AuditFindings
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.rules import ReadRules
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.output.manifest import WrittenFile, list_manifests, read_manifest, write_manifest
from pipeline.output.part import codes_array
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from pipeline.worker.codec_request import CodecRequest, Precision
from pipeline.worker.settings import Tuning
from tests.support.places import SPEECH
from xy_codec.fake import FAKES

FIRST = "EN-B000000.tar"
ENGLISH = str(SPEECH / "Emilia/EN")
Change = Callable[[list[np.ndarray]], list[np.ndarray]]


def make_run(
    output: Path,
    inputs: str = ENGLISH,
    codec: str = "fake",
    precision: Precision = "exact",
    **rules: Any,
) -> Path:
    request = RunRequest(
        inputs=(inputs,),
        output=str(output),
        rules=ReadRules(**{"root": str(SPEECH)} | rules),
        storage=Storage(),
        tuning=Tuning(decode_threads=1),
        quiet=True,
    )
    engine = InlineEngine(CodecRequest(codec, precision=precision, device="cpu"))
    try:
        run_tokenize(request, engine)
    finally:
        engine.close()
    return output


def audit_run(output: Path, **changes: Any) -> AuditFindings:
    settings: dict[str, Any] = {
        "output": str(output),
        "groups": ("acoustics",),
        "plan": SamplePlan(per_shard=50),
        "processes": 0,
        "device": "cpu",
    }
    request = AuditRequest(**settings | changes)
    return run_audit(request, *open_audit(request))


def copy_run(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def change_codes(output: Path, change: Change, shard: str = FIRST) -> None:
    """Rewrite the codes of one shard as its worker would have, with a manifest that fits."""

    def rewrite(table: pa.Table) -> pa.Table:
        codes = [np.array(row, dtype=np.int16) for row in table["codes"].to_pylist()]
        place = table.schema.get_field_index("codes")
        changed = change(codes)
        frames = pa.array([matrix.shape[1] for matrix in changed], pa.int32())
        table = table.set_column(
            place, table.schema.field("codes"), codes_array(changed, FAKES["fake"])
        )
        place = table.schema.get_field_index("num_frames")
        return table.set_column(place, table.schema.field("num_frames"), frames)

    change_part(output, rewrite, shard)


def change_part(
    output: Path,
    rewrite: Callable[[pa.Table], pa.Table],
    shard: str = FIRST,
    with_manifest: bool = True,
    **facts: Any,
) -> None:
    """Rewrite one shard's part; its manifest follows, with other `facts` where they are given."""
    storage = Storage()
    for name in list_manifests(storage, str(output)):
        manifest = read_manifest(storage, join(str(output), name.path))
        if not manifest.shard.endswith(shard):
            continue
        path = output / manifest.part.path
        table = rewrite(pq.read_table(path))
        pq.write_table(table, path, compression="zstd")
        if with_manifest:
            digest = _sha256(path)
            part = WrittenFile(manifest.part.path, path.stat().st_size, digest, table.num_rows)
            write_manifest(storage, str(output), name, replace(manifest, part=part, **facts))


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip_one_percent(codes: list[np.ndarray]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [m ^ (rng.random(m.shape) < 0.01).astype(np.int16) * 64 for m in codes]
