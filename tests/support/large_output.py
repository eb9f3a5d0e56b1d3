"""A finished run of many tiny shards in a bucket, made by the code that writes real outputs."""

import tempfile
from typing import Any

import numpy as np

from pipeline.corpus.listing import list_shards
from pipeline.corpus.metadata import Metadata
from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.output.events import EventLog
from pipeline.output.identity import RunIdentity, build_identity
from pipeline.output.manifest import LanguageCount, Manifest, ManifestName, write_manifest
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.part import PartRow, PartWriter
from pipeline.output.rejects import RejectRow, publish_rejects
from pipeline.output.run_record import claim_output
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from xy_codec.fake import FakeCodec

CLIPS = 2
_BATCH = 1000
_FOLDERS = 8
_FRAMES = 25


def key_of(shard: int, clip: int) -> str:
    """A key as Emilia has them: they grow from shard to shard."""
    return f"EN_B{shard:05d}_S00000_W{clip:06d}"


def fill_inputs(storage: Storage, bucket: str, count: int) -> None:
    """Put `count` inputs into BUCKET/in."""
    fs, _ = storage.filesystem(bucket)
    fs.mkdir(bucket)
    paths = [f"{bucket}/in/{n * _FOLDERS // count}/{n:06d}.tar" for n in range(count)]
    for start in range(0, count, _BATCH):
        fs.pipe(dict.fromkeys(paths[start : start + _BATCH], b"a tar"))


def fill_output(storage: Storage, bucket: str) -> None:
    """Put the finished run of BUCKET/in into BUCKET/out; it has no index yet."""
    fs, _ = storage.filesystem(bucket)
    shards = list_shards([f"{bucket}/in"], storage)
    identity = build_identity(FakeCodec().identity, ReadRules())
    output = f"{bucket}/out"
    claim_output(storage, output, identity, {"codec_source": "fake", "codec_options": {}}, {})
    log = EventLog(storage, output)
    log.write("run_started", shards=len(shards), identity8=identity.identity8)
    for start in range(0, len(shards), _BATCH):
        with tempfile.TemporaryDirectory() as folder:
            for number, shard in enumerate(shards[start : start + _BATCH], start):
                manifest = finish_shard(shard, number, identity, folder)
                log.write("shard_done", **_event(manifest, shard))
            fs.put(f"{folder}/", f"{output}/", recursive=True)
    log.write("run_ended")
    log.close()


def finish_shard(
    shard: Shard,
    number: int,
    identity: RunIdentity,
    output: str,
    num_clips: int = CLIPS,
    num_frames: int = _FRAMES,
) -> Manifest:
    """Write part, rejects and manifest of a shard whose first clips became codes."""
    storage = Storage()
    rng = np.random.default_rng(number)
    rows = [_row(key_of(number, clip), rng, num_frames) for clip in range(num_clips)]
    part = PartWriter(shard, identity)
    for start in range(0, num_clips, ROW_GROUP_ROWS):
        part.add_row_group(rows[start : start + ROW_GROUP_ROWS])
    written = part.publish(storage, output)
    part.discard()
    reject = RejectRow(
        (9, 0), key_of(number, num_clips), Reason.UNDECODABLE, Stage.DECODE, "", 9, 9
    )
    rejected = publish_rejects([reject], shard, identity, storage, output)
    manifest = Manifest(
        shard=shard.path,
        url=redact(shard.url),
        source_size_bytes=shard.size_bytes,
        source_etag=shard.etag,
        identity8=identity.identity8,
        members=2 * num_clips + 1,
        clips_seen=num_clips + 1,
        codes=num_clips,
        rejects=1,
        filtered=0,
        frames=num_clips * num_frames,
        samples=sum(row.num_samples for row in rows),
        source_seconds=sum(row.num_samples for row in rows) / 24000,
        part=written,
        reject_file=rejected,
        rejects_by_reason={str(Reason.UNDECODABLE): 1},
        key_range=(rows[0].key, rows[-1].key),
        languages=(LanguageCount("en", num_clips, num_clips * num_frames * 0.08, 1),),
    )
    write_manifest(storage, output, ManifestName.of(shard, identity.identity8), manifest)
    return manifest


def _row(key: str, rng: np.random.Generator, num_frames: int) -> PartRow:
    codes = rng.integers(0, 1024, (8, num_frames), dtype=np.int16)
    metadata = Metadata(text="Words.", speaker=key[:16], language="en", dnsmos=3.2)
    return PartRow(key, codes, num_frames * 1920, 24000, metadata, 512, 9, 1)


def _event(manifest: Manifest, shard: Shard) -> dict[str, Any]:
    """What `fleet/run.py` notes of a finished shard."""
    return {
        "shard": manifest.url,
        "worker": "w0",
        "source8": shard.source8,
        "seconds": 0.1,
        "codes": manifest.codes,
        "rejects": manifest.rejects,
        "filtered": 0,
        "source_seconds": manifest.source_seconds,
        "holes": 0,
        "worker_times_out_of_memory": 0,
    }
