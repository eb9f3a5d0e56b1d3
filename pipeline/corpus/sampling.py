"""Samples a corpus: clips, seconds and bytes of audio in the first 2 MiB of some of its shards.

`xytok plan` estimates hours and sizes from it; the flip rate takes its clips from here. A sample is
read without a codec, and without decoding where the JSON tells the duration.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.clip_source import open_clips
from pipeline.corpus.metadata import parse_json
from pipeline.corpus.pairing import AUDIO_EXTENSIONS, ClipFiles, FoundClip, split_name
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard, is_tar, uncompressed
from pipeline.corpus.tar_reader import TarMember, TarReader
from pipeline.storage.client import Storage
from pipeline.storage.streams import ByteStream
from xy_codec.mp3_frames import with_length

_SAMPLE_BYTES = 2 << 20
_MAX_SHARDS = 24
# Clips of a shard whose audio header is read because no JSON tells their duration.
_MAX_OPENED = 8
_READERS = 12


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


def sample_shards(shards: Sequence[Shard], storage: Storage, rules: ReadRules) -> ShardSample:
    """Read the beginnings of up to 24 shards, evenly chosen, in parallel."""
    step = max(1, len(shards) // _MAX_SHARDS)
    chosen = shards[::step][:_MAX_SHARDS]
    total = ShardSample()
    with ThreadPoolExecutor(_READERS) as pool:
        for sample in pool.map(lambda shard: sample_shard(shard, storage, rules), chosen):
            total = total.plus(sample)
    return total


def sample_shard(shard: Shard, storage: Storage, rules: ReadRules) -> ShardSample:
    """The counts for the first 2 MiB of one shard."""
    clips, read_bytes = first_clips(shard, storage, rules)
    sounds = {clip.key: clip.audio for clip in clips if clip.audio is not None}
    durations: dict[str, float] = {}
    for clip in clips:
        duration = fields_of_clip(clip).get("duration")
        if isinstance(duration, int | float):
            durations[clip.key] = float(duration)
    for key in [key for key in sounds if key not in durations][:_MAX_OPENED]:
        durations |= _opened(key, sounds[key])
    timed = [key for key in sounds if key in durations]
    return ShardSample(
        clips=len(sounds),
        read_bytes=read_bytes,
        timed_bytes=sum(sounds[key].size for key in timed),
        timed_seconds=sum(durations[key] for key in timed),
        audio_bytes=sum(member.size for member in sounds.values()),
    )


def first_clips(
    shard: Shard, storage: Storage, rules: ReadRules
) -> tuple[Sequence[ClipFiles], int]:
    """The clips in the first 2 MiB of a shard, and how many bytes of the file they take.

    In a tar, those whose members lie there; a clip of which only the text does has no audio.
    """
    if is_tar(shard.path) and not shard.cuts:
        return _first_of_tar(shard, storage, rules)
    noted: list[int] = []
    clips: list[ClipFiles] = []
    size = 0
    for events in open_clips(shard, storage, rules, noted.append):
        for event in events:
            if isinstance(event, FoundClip) and event.files.audio is not None:
                clips.append(event.files)
                size += event.files.audio.size
        if size >= _SAMPLE_BYTES:
            break
    return clips, sum(noted)


def fields_of_clip(clip: ClipFiles) -> Mapping[str, Any]:
    """The metadata of a clip; none where its JSON cannot be read."""
    fields = parse_json(clip.json) if isinstance(clip.json, bytes) else clip.json
    return {} if fields is None or isinstance(fields, str) else fields


def _first_of_tar(
    shard: Shard, storage: Storage, rules: ReadRules
) -> tuple[Sequence[ClipFiles], int]:
    wanted = _SAMPLE_BYTES if shard.size_bytes < 0 else min(_SAMPLE_BYTES, shard.size_bytes)
    content = storage.read_range(shard.url, 0, wanted, may_end=True) if wanted else b""
    plain = b"".join(uncompressed(shard.path, iter([content]), shard.url))
    reader = TarReader(ByteStream(iter([plain])), size_bytes=None, max_member_bytes=_SAMPLE_BYTES)
    members = [m for m in reader if not m.is_cut and m.payload is not None]
    if not members:
        return [], len(content)
    # The last member may be cut: neither its bytes nor its clip are counted.
    covered = members[-1].offset + members[-1].size
    share = min(1.0, covered / len(plain)) if len(content) < shard.size_bytes else 1.0
    clips: dict[str, ClipFiles] = {}
    for member in members:
        key, extension = split_name(member.name, key_dots=rules.key_dots) or ("", "")
        if extension.rpartition(".")[2] in AUDIO_EXTENSIONS:
            clips.setdefault(key, ClipFiles(key)).audio = member
        elif extension == "json":
            clips.setdefault(key, ClipFiles(key)).json = member.payload
        elif extension == "txt":
            clips.setdefault(key, ClipFiles(key)).text = member.payload
    return list(clips.values()), round(len(content) * share)


def _opened(key: str, member: TarMember) -> dict[str, float]:
    # Imported here because corpora with durations in their JSON do not need it.
    import soundfile

    try:
        return {key: float(soundfile.info(io.BytesIO(with_length(member.payload or b""))).duration)}
    except (soundfile.SoundFileError, RuntimeError):
        return {}
