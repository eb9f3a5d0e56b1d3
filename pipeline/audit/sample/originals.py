"""The originals of sampled clips, and the shards they are in as these are now.

Originals are read one by one by their places, never a whole shard. Size and etag are asked of every
source: is it still the same file. Its clips are listed only on demand, by streaming the tar, to see
whether every one is accounted for: asking for single headers would be two requests a clip, some
thousands a shard, which takes longer and costs more on an object store than the tar in a few
hundred ranges.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow.parquet as pq
import xxhash

from pipeline.audit.codes.part_file import PartFile
from pipeline.audit.codes.token_report import SourceReport
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.sample.sampling import SampledClip
from pipeline.corpus.audio_list import list_etag
from pipeline.corpus.clip_source import ReadAudio, audio_reader, open_clips
from pipeline.corpus.decode import ClipBounds, ClipFault, load_decoder
from pipeline.corpus.pairing import FoundClip, LateText
from pipeline.corpus.rules import DEFAULT_DECODER, ReadRules
from pipeline.corpus.shard import (
    LIST_SUFFIX,
    Shard,
    cuts_of,
    has_cuts,
    is_tar,
    list_path,
    own_etag,
    stem_of,
)
from pipeline.corpus.tar_reader import TarMember
from pipeline.errors import PipelineError, UsageError
from pipeline.output.manifest import Manifest
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from xy_codec.contract import Waveform

# Key, offset and size of a clip's audio; no offset in compressed tars, neither without audio.
Place = tuple[str, int | None, int | None]


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Where sources are now: pairs of old and new leading paths, the first that fits counts."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, options: Sequence[str]) -> "SourceMap":
        """Out of `--source-map OLD=NEW` options."""
        pairs = []
        for option in options:
            old, equals, new = option.partition("=")
            if not (old and equals and new):
                raise UsageError(
                    f"`--source-map {option}` is no pair; expected `OLD=NEW`, two leading paths "
                    "of the shards. For example `--source-map s3://old/emilia=/mnt/emilia`."
                )
            pairs.append((old, new))
        return cls(tuple(pairs))

    def locate(self, url: str) -> str:
        """Where a shard is now."""
        for old, new in self.pairs:
            if url.startswith(old):
                return new + url[len(old) :]
        return url


@dataclass(frozen=True, slots=True)
class Original:
    """What is behind a sampled clip; either a waveform at the codec's rate or a reason."""

    clip: SampledClip
    payload: bytes
    waveform: Waveform | None
    same_audio: bool | None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class OriginalReader:
    """Reads the originals of one shard by the rules of its run.

    Attributes:
        read: gives the bytes of audio by place and size.
        size_bytes: that of a tar as it is now; what lies behind it is not asked for.
    """

    read: ReadAudio
    rate_hz: int
    size_bytes: int | None = None
    decoder: str = DEFAULT_DECODER

    @classmethod
    def of_shard(
        cls,
        storage: Storage,
        output: str,
        manifest: Manifest,
        url: str,
        rules: ReadRules,
        rate_hz: int,
        size_bytes: int | None = None,
    ) -> "OriginalReader":
        """For the shard of a manifest, which is at a URL now."""
        listed = join(output, list_path(stem_of(manifest.shard)))
        read = audio_reader(manifest.shard, url, storage, rules, lambda: storage.read_bytes(listed))
        size = size_bytes if is_tar(manifest.shard) else None
        return cls(read, rate_hz, size, rules.decoding)

    def all(self, clips: Iterable[SampledClip], threads: int = 8) -> Iterator[Original]:
        """The originals in the order of their clips, read a few at a time."""
        with ThreadPoolExecutor(threads, thread_name_prefix="originals") as pool:
            yield from pool.map(self, clips)

    def __call__(self, clip: SampledClip) -> Original:
        """The original of one clip, and whether its bytes are those that were tokenized."""
        if clip.tar_offset is None:
            return Original(clip, b"", None, None, Reason.NO_OFFSET)
        if self.size_bytes is not None and clip.tar_offset + clip.tar_size > self.size_bytes:
            return Original(clip, b"", None, None, Reason.UNREADABLE)
        try:
            payload = self.read(clip.tar_offset, clip.tar_size)
        except PipelineError:
            return Original(clip, b"", None, None, Reason.UNREADABLE)
        same = xxhash.xxh64_intdigest(payload) == clip.audio_xxh64
        decoded = load_decoder(self.decoder)(payload, self.rate_hz, ClipBounds())
        if isinstance(decoded, ClipFault):
            return Original(clip, payload, None, same, Reason.UNDECODABLE)
        return Original(clip, payload, decoded.waveform, same)


@dataclass(slots=True)
class _Expected:
    """What a part and its rejects say is in the tar; taken out as the tar is listed."""

    rows: dict[Place, int]
    rejects: Counter[Place]

    def take(self, place: Place, audio: TarMember | None) -> str:
        """Whether a clip of the tar is `ok`, `changed` or `missing` here."""
        known = self.rows.pop(place, None)
        if known is None:
            self.rejects[place] -= 1
            return "missing" if self.rejects[place] < 0 else "ok"
        payload = audio.payload if audio else None
        return "ok" if payload and xxhash.xxh64_intdigest(payload) == known else "changed"

    def left(self) -> list[str]:
        """The keys that the tar does not have where they should be."""
        return [place[0] for place in (*self.rows, *(+self.rejects))]


def check_source(storage: Storage, output: str, url: str, manifest: Manifest) -> SourceReport:
    """Whether the shard is still the one that was read; one out of reach is no fault of tokens."""
    try:
        if manifest.shard.endswith(LIST_SUFFIX):
            is_other = list_etag(_read_list(storage, output, manifest)) != manifest.source_etag
            return SourceReport(changes=("the list has other lines than then",) * is_other)
        found = storage.file_info(url)
    except PipelineError as error:
        return SourceReport(unread=str(error))
    if found.size_bytes != manifest.source_size_bytes:
        change = (
            f"the shard has {found.size_bytes:,} bytes now, {manifest.source_size_bytes:,} then"
        )
        return SourceReport(changes=(change,), size_bytes=found.size_bytes)
    # A copy elsewhere has another modification time by right, and some stores no etag at all.
    is_touched = url == manifest.url and found.etag != own_etag(manifest.source_etag)
    return SourceReport(is_touched=is_touched, size_bytes=found.size_bytes)


def list_source(
    storage: Storage,
    output: str,
    manifest: Manifest,
    part: PartFile,
    url: str,
    rules: ReadRules,
    known: SourceReport,
) -> SourceReport:
    """Hold every clip of a tar against rows and rejects, bytes of the audio included.

    Raises:
        PipelineError: the tar or the rejects cannot be read.
    """
    if manifest.shard.endswith(LIST_SUFFIX):
        listed = _read_list(storage, output, manifest)
        shard = Shard(url, manifest.shard, -1, list_etag(listed), listed=listed)
    else:
        info = storage.file_info(url)
        cuts = cuts_of(url) if has_cuts(manifest.source_etag) else ""
        shard = Shard(url, manifest.shard, info.size_bytes, info.etag, cuts=cuts)
    expected = _expected(storage, output, manifest, part)
    found: dict[str, list[str]] = {"ok": [], "changed": [], "missing": []}
    for place, audio in _places(shard, storage, manifest, rules):
        found[expected.take(place, audio)].append(place[0])
    missing = found["missing"]
    changes = [
        *_counted(expected.left(), "of part and rejects not in the tar at their place"),
        *_counted(found["changed"], "of the tar with other audio than was tokenized"),
    ]
    return replace(
        known,
        changes=(*known.changes, *changes),
        clips=sum(map(len, found.values())),
        missing_clips=max(0, len(missing) - manifest.filtered),
        # A filtered clip leaves no key behind, so which of these is missing cannot be told.
        first_missing=missing[0] if missing and not manifest.filtered else None,
    )


def _counted(keys: list[str], what: str) -> list[str]:
    return [f"{plural(len(keys), 'clip')} {what}, the first is `{keys[0]}`"] if keys else []


def _expected(storage: Storage, output: str, manifest: Manifest, part: PartFile) -> _Expected:
    rows = part.columns_without_codes()
    content = storage.read_bytes(join(output, manifest.reject_file.path))
    rejects: Any = pq.ParquetFile(io.BytesIO(content)).read(use_threads=False)
    hashes = dict(zip(_places_in(rows), rows["audio_xxh64"].to_pylist(), strict=True))
    return _Expected(hashes, Counter(_places_in(rejects)))


def _places_in(table: Any) -> list[Place]:
    columns = (table[name].to_pylist() for name in ("key", "tar_offset", "tar_size"))
    return list(zip(*columns, strict=True))


def _read_list(storage: Storage, output: str, manifest: Manifest) -> bytes:
    return storage.read_bytes(join(output, list_path(stem_of(manifest.shard))))


def _places(
    shard: Shard, storage: Storage, manifest: Manifest, rules: ReadRules
) -> Iterator[tuple[Place, TarMember | None]]:
    """Every clip of a shard by the rules that it was tokenized by, and its audio."""
    seen = 0
    for event in chain.from_iterable(open_clips(shard, storage, rules)):
        if isinstance(event, LateText):
            continue
        if manifest.limited and seen >= manifest.clips_seen:
            return
        seen += 1
        audio = event.files.audio if isinstance(event, FoundClip) else event.member
        key = event.files.key if isinstance(event, FoundClip) else event.key
        offset = None if shard.is_compressed or audio is None else audio.offset
        yield (key, offset, audio.size if audio else None), audio
