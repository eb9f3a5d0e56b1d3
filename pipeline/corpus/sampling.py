"""Samples a corpus: clips, seconds and bytes of audio in the first 2 MiB of some of its shards.

`xytok plan` estimates hours and sizes from it; the flip rate takes its clips from here. A sample is
read without a codec, and without decoding where the JSON tells the duration.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.corpus.metadata import parse_json
from pipeline.corpus.pairing import AUDIO_EXTENSIONS, split_name
from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_reader import TarMember, TarReader
from pipeline.storage.client import Storage
from pipeline.storage.streams import ByteStream

_SAMPLE_BYTES = 2 << 20
_MAX_SHARDS = 24
# Clips of a shard whose audio header is read because no JSON tells their duration.
_MAX_OPENED = 8
_READERS = 12
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class ShardSample:
    """Counts over the beginnings of shards: `clips` were found in `read_bytes` of the files.

    `timed_bytes` and `timed_seconds` are those of the clips whose duration is known.
    """

    clips: int = 0
    read_bytes: int = 0
    timed_bytes: int = 0
    timed_seconds: float = 0.0
    audio_bytes: int = 0

    def plus(self, other: "ShardSample") -> "ShardSample":
        """The sum of both samples."""
        return ShardSample(
            self.clips + other.clips,
            self.read_bytes + other.read_bytes,
            self.timed_bytes + other.timed_bytes,
            self.timed_seconds + other.timed_seconds,
            self.audio_bytes + other.audio_bytes,
        )

    def clips_in(self, size_bytes: int) -> float:
        """An estimate of the clips in so many bytes of shards."""
        return size_bytes * self.clips / self.read_bytes if self.read_bytes else 0.0

    def seconds_in(self, size_bytes: int) -> float:
        """An estimate of the seconds of audio in so many bytes of shards."""
        if not self.timed_bytes or not self.read_bytes:
            return 0.0
        audio_share = self.audio_bytes / self.read_bytes
        return size_bytes * audio_share * self.timed_seconds / self.timed_bytes


def sample_shards(shards: Sequence[Shard], storage: Storage) -> ShardSample:
    """Read the beginnings of up to 24 shards, evenly chosen, in parallel."""
    step = max(1, len(shards) // _MAX_SHARDS)
    chosen = shards[::step][:_MAX_SHARDS]
    total = ShardSample()
    with ThreadPoolExecutor(_READERS) as pool:
        for sample in pool.map(lambda shard: sample_shard(shard, storage), chosen):
            total = total.plus(sample)
    return total


def sample_shard(shard: Shard, storage: Storage) -> ShardSample:
    """The counts for the first 2 MiB of one shard."""
    content, plain = _beginning(shard, storage)
    members = list(_whole_members(plain))
    if not members:
        return ShardSample(read_bytes=len(content))
    # The last member may be cut: neither its bytes nor its clip are counted.
    covered = members[-1].offset + members[-1].size
    share = min(1.0, covered / len(plain)) if len(content) < shard.size_bytes else 1.0
    return _count(members, round(len(content) * share))


def first_members(shard: Shard, storage: Storage) -> Iterator[TarMember]:
    """The members that lie completely in the first 2 MiB of a shard."""
    return _whole_members(_beginning(shard, storage)[1])


def _beginning(shard: Shard, storage: Storage) -> tuple[bytes, bytes]:
    """The first 2 MiB of a shard: as stored, and uncompressed."""
    wanted = _SAMPLE_BYTES if shard.size_bytes < 0 else min(_SAMPLE_BYTES, shard.size_bytes)
    content = storage.read_range(shard.url, 0, wanted, may_end=True) if wanted else b""
    return content, _inflate(content) if shard.is_compressed else content


def _whole_members(content: bytes) -> Iterator[TarMember]:
    stream = ByteStream(iter([content]))
    reader = TarReader(stream, size_bytes=None, max_member_bytes=_SAMPLE_BYTES)
    return (m for m in reader if not m.is_cut and m.payload is not None)


def _count(members: Sequence[TarMember], read_bytes: int) -> ShardSample:
    audio: dict[str, TarMember] = {}
    durations: dict[str, float] = {}
    for member in members:
        key, kind = split_name(member.name) or ("", "")
        if kind.rpartition(".")[2] in AUDIO_EXTENSIONS:
            audio[key] = member
        elif kind == "json":
            fields = parse_json(member.payload or b"")
            duration = fields.get("duration") if not isinstance(fields, str) else None
            if isinstance(duration, int | float):
                durations[key] = float(duration)
    for key in [key for key in audio if key not in durations][:_MAX_OPENED]:
        durations |= _opened(key, audio[key])
    timed = [key for key in audio if key in durations]
    return ShardSample(
        clips=len(audio),
        read_bytes=read_bytes,
        timed_bytes=sum(audio[key].size for key in timed),
        timed_seconds=sum(durations[key] for key in timed),
        audio_bytes=sum(member.size for member in audio.values()),
    )


def _opened(key: str, member: TarMember) -> dict[str, float]:
    # Imported here because corpora with durations in their JSON do not need it.
    import soundfile

    try:
        return {key: float(soundfile.info(io.BytesIO(member.payload or b"")).duration)}
    except (soundfile.SoundFileError, RuntimeError):
        return {}


def _inflate(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(content)
    except zlib.error:
        return b""
