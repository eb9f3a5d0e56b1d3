"""The ledger of one shard: it makes sure that every clip ends once, as codes, reject or filtered.

The reading, decoding and encoding threads of a worker report to it. It joins JSON and text to their
clips, and hands rows to the writing thread in source order, one row group at a time.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.corpus.metadata import (
    NO_METADATA,
    Metadata,
    decode_text,
    parse_json,
    to_metadata,
    with_words,
)
from pipeline.corpus.pairing import ClipFiles, LateText, RejectedMember
from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_reader import Hole
from pipeline.corpus.where import Predicate, parse_where
from pipeline.corpus.where_check import WhereCheck
from pipeline.output.manifest import LanguageCount, Manifest, WrittenFile
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.part import PartRow
from pipeline.output.rejects import RejectRow
from pipeline.storage.location import redact
from pipeline.worker.progress import ClipCounts, ShardProgress
from xy_codec.contract import Encoded

# Audio that is shorter than stated by more than this ended early.
SPARE_SECONDS = 0.5


@dataclass(slots=True)
class OpenClip:
    """One clip that was read from the tar and has no row yet."""

    index: int
    key: str
    offset: int
    size: int
    metadata: Metadata | None = None
    text: str | None = None
    json_fault: str | None = None
    text_fault: str | None = None
    is_filtered: bool = False
    has_other_type: bool = False
    audio_xxh64: int = 0
    num_samples: int = 0
    sample_rate: int = 0
    declared_samples: int = 0
    encoded: Encoded | None = None
    reject: RejectRow | None = None

    @property
    def missing_seconds(self) -> float:
        """By how much its audio is shorter than its header or its JSON says."""
        if not self.sample_rate:
            return 0.0
        stated = self.metadata.json_duration if self.metadata else None
        longest = max(self.declared_samples / self.sample_rate, stated or 0.0)
        return longest - self.num_samples / self.sample_rate

    @property
    def lacks_text(self) -> bool:
        """Whether it has JSON without text, so that a text file may still come."""
        if self.metadata is None or self.reject is not None:
            return False
        return self.text is None and self.metadata.text is None and self.text_fault is None


@dataclass(slots=True)
class _Language:
    clips: int = 0
    seconds: float = 0.0
    speakers: set[str] = field(default_factory=set)

    def add(self, speaker: str | None, seconds: float) -> None:
        """Count a clip."""
        self.clips += 1
        self.seconds += seconds
        if speaker is not None:
            self.speakers.add(speaker)


class ShardLedger:
    """What is known about the clips of one shard while a worker has it."""

    def __init__(
        self, shard: Shard, rules: ReadRules, emit: Callable[["ShardLedger", list[PartRow]], None]
    ) -> None:
        self.shard = shard
        # The keys of the clips that count, where a retry leaves out all others.
        self.only: frozenset[str] | None = None
        self.rejects: list[RejectRow] = []
        self.bytes_read = 0
        self.holes: tuple[Hole, ...] = ()
        self.members = 0
        self.limited = False
        self.codes = self.filtered = self.clips_seen = 0
        self.frames = self.samples = self.ended_early = self.other_type = 0
        self.source_seconds = 0.0
        self._key_range: tuple[str, str] | None = None
        self._languages: dict[str | None, _Language] = {}
        # Ahead of `codes` and `source_seconds`, which count clips once all before them are settled.
        self._encoded, self._encoded_seconds = 0, 0.0
        self._rejects_by_reason: Counter[str] = Counter()
        self._rules = rules
        self._where: Predicate | None = parse_where(rules.where) if rules.where else None
        self._where_check = WhereCheck(rules.where) if rules.where else None
        self._emit = emit
        self._lock = threading.Lock()
        self._open: deque[OpenClip] = deque()
        self._by_index: dict[int, OpenClip] = {}
        self._ready: list[PartRow] = []
        self._is_read = self._is_closed = False

    def add_clip(self, files: ClipFiles) -> OpenClip | None:
        """Open a clip; None when it is settled at once, so that it need not be decoded."""
        audio = files.audio
        assert audio is not None
        clip = OpenClip(files.index, files.key, audio.offset, audio.size)
        clip.is_filtered = self._is_left_out(clip.key)
        self._note_texts(clip, files.json, files.text)
        if clip.json_fault:
            self._reject_open(clip, Reason.BAD_JSON, Stage.PAIR, clip.json_fault)
        elif audio.link:
            detail = f"a link to `{audio.link}`; `tar --dereference --hard-dereference` packs files"
            self._reject_open(clip, Reason.MISSING_AUDIO, Stage.READ, detail)
        elif audio.payload is None:
            detail = f"{audio.size} bytes; at most {self._rules.max_member_bytes} are allowed"
            self._reject_open(clip, Reason.TOO_BIG, Stage.READ, detail)
        elif audio.is_cut:
            detail = f"{len(audio.payload)} of {audio.size} bytes are there"
            self._reject_open(clip, Reason.CUT_OFF, Stage.READ, detail)
        with self._lock:
            self.clips_seen += 1
            self._open.append(clip)
            self._by_index[clip.index] = clip
            settled = clip.reject is not None or clip.is_filtered
            self._advance()
        return None if settled else clip

    def add_late(self, late: LateText) -> None:
        """Add JSON or text that came after its clip; when there are two JSONs, the first counts."""
        with self._lock:
            clip = self._by_index.get(late.index)
            if clip is not None and (clip.metadata is None or late.json is None):
                self._note_texts(clip, late.json, late.text)
                self._advance()

    def add_reject(self, found: RejectedMember) -> None:
        """Count a member that cannot be a clip as a reject."""
        member = found.member
        order = (member.offset, 0) if member else (2**62, self.clips_seen)
        row = RejectRow(
            order,
            found.key,
            found.reason,
            Stage.PAIR,
            found.detail,
            member.offset if member else None,
            member.size if member else None,
        )
        with self._lock:
            self.clips_seen += 1
            if self._is_left_out(found.key):
                self.filtered += 1
            else:
                self._add_reject(row)

    def set_fault(self, clip: OpenClip, stage: Stage, reason: Reason, detail: str) -> None:
        """Settle a clip as a reject, with the reason."""
        with self._lock:
            self._reject_open(clip, reason, stage, detail)
            self._advance()

    def set_codes(self, clip: OpenClip, encoded: Encoded) -> None:
        """Settle a clip with its codes."""
        with self._lock:
            clip.encoded = encoded
            self._encoded += 1
            self._encoded_seconds += clip.num_samples / clip.sample_rate
            self._advance()

    def finish_reading(self, holes: tuple[Hole, ...], members: int, *, limited: bool) -> None:
        """Say that the tar was read to its end, or to `--limit`."""
        with self._lock:
            self.holes, self.members, self.limited = holes, members, limited
            self._is_read = True
            self._advance()

    def note_bytes(self, size: int) -> None:
        """Count bytes that were read of the file."""
        self.bytes_read += size

    def progress(self) -> ShardProgress:
        """How far the shard is."""
        with self._lock:
            counts = ClipCounts(
                self._encoded,
                self.filtered,
                self._encoded_seconds,
                dict(self._rejects_by_reason),
            )
            return ShardProgress(
                self.shard.path, self.shard.size_bytes, self.bytes_read, self.clips_seen, counts
            )

    def to_manifest(self, identity8: str, part: WrittenFile, rejects: WrittenFile) -> Manifest:
        """The manifest of the shard; raises when a clip is missing in its sums."""
        manifest = Manifest(
            shard=self.shard.path,
            url=redact(self.shard.url),
            source_size_bytes=self.shard.size_bytes,
            source_etag=self.shard.etag,
            identity8=identity8,
            members=self.members,
            clips_seen=self.clips_seen,
            codes=part.rows,
            rejects=rejects.rows,
            filtered=self.filtered,
            frames=self.frames,
            samples=self.samples,
            source_seconds=round(self.source_seconds, 6),
            part=part,
            reject_file=rejects,
            rejects_by_reason=dict(sorted(self._rejects_by_reason.items())),
            holes=self.holes,
            limited=self.limited,
            ended_early=self.ended_early,
            other_type=self.other_type,
            key_range=self._key_range,
            languages=tuple(
                LanguageCount(name, found.clips, round(found.seconds, 6), len(found.speakers))
                for name, found in sorted(self._languages.items(), key=lambda each: each[0] or "")
            ),
        )
        manifest.check_balance()
        return manifest

    def _note_texts(
        self, clip: OpenClip, json: bytes | Mapping[str, Any] | None, text: bytes | None
    ) -> None:
        if text is not None and clip.text is None and clip.text_fault is None:
            try:
                clip.text = decode_text(text)
            except UnicodeDecodeError as error:
                clip.text_fault = f"not {error.encoding}: {error.reason} at byte {error.start}"
        if json is None:
            return
        fields = parse_json(json) if isinstance(json, bytes) else json
        if isinstance(fields, str):
            clip.json_fault = fields
            return
        fields = with_words(fields)
        clip.metadata = to_metadata(clip.key, fields, clip.text)
        self._filter(clip, fields)

    def _filter(self, clip: OpenClip, fields: Mapping[str, Any]) -> None:
        is_unfit = self._where is not None and not self._where(fields)
        clip.is_filtered = is_unfit or self._is_left_out(clip.key)
        has_types = self._where_check is None or self._where_check.look_at(fields)
        clip.has_other_type = is_unfit and not has_types

    def _is_left_out(self, key: str) -> bool:
        return self.only is not None and key not in self.only

    def _reject_open(self, clip: OpenClip, reason: Reason, stage: Stage, detail: str) -> None:
        order = (clip.offset, 1)
        clip.reject = RejectRow(order, clip.key, reason, stage, detail, clip.offset, clip.size)

    def _advance(self) -> None:
        while self._open and self._settle(self._open[0]):
            clip = self._open.popleft()
            del self._by_index[clip.index]
        if self._is_closed:
            return
        is_last = self._is_read and not self._open
        while len(self._ready) >= ROW_GROUP_ROWS or (is_last and self._ready):
            rows, self._ready = self._ready[:ROW_GROUP_ROWS], self._ready[ROW_GROUP_ROWS:]
            self._emit(self, rows)
        if is_last:
            self._is_closed = True
            self._emit(self, [])

    def _settle(self, clip: OpenClip) -> bool:
        """Turn the first open clip into a row or reject, once everything about it is known.

        The order of the checks decides, not which thread was faster: a filtered clip is filtered,
        else bad JSON rejects it, else a fault of its audio, else missing JSON, else bad text.
        """
        if not clip.is_filtered:
            if clip.encoded is None and clip.reject is None:
                return False
            if clip.metadata is None and clip.json_fault is None:
                if not self._is_read:
                    return False
                self._close_without_json(clip)
            elif clip.lacks_text and not self._is_read:
                return False
            elif clip.json_fault:
                self._reject_open(clip, Reason.BAD_JSON, Stage.PAIR, clip.json_fault)
            if clip.text_fault and clip.reject is None and not (clip.metadata or NO_METADATA).text:
                self._reject_open(clip, Reason.BAD_TEXT, Stage.PAIR, clip.text_fault)
            if clip.encoded is not None and clip.missing_seconds > SPARE_SECONDS:
                self._note_short(clip)
        if clip.encoded is not None and (clip.is_filtered or clip.reject is not None):
            self._encoded -= 1
            self._encoded_seconds -= clip.num_samples / clip.sample_rate
        if clip.is_filtered:
            self.filtered += 1
            self.other_type += clip.has_other_type
        elif clip.reject is not None:
            self._add_reject(clip.reject)
        else:
            self._add_row(clip)
        return True

    def _note_short(self, clip: OpenClip) -> None:
        if not self._rules.reject_short:
            self.ended_early += clip.reject is None
        elif clip.reject is None:
            seconds = clip.num_samples / clip.sample_rate
            detail = f"{seconds:.3f} s of sound; {seconds + clip.missing_seconds:.3f} s are stated"
            self._reject_open(clip, Reason.CUT_OFF, Stage.DECODE, detail)

    def _add_reject(self, row: RejectRow) -> None:
        self.rejects.append(row)
        self._rejects_by_reason[str(row.reason)] += 1

    def _close_without_json(self, clip: OpenClip) -> None:
        self._filter(clip, {})
        if clip.reject is None and self._rules.require_json:
            where = "among the members that `--limit` read" if self.limited else "in the tar"
            self._reject_open(clip, Reason.MISSING_JSON, Stage.PAIR, f"no JSON member {where}")

    def _add_row(self, clip: OpenClip) -> None:
        assert clip.encoded is not None
        metadata = clip.metadata or to_metadata(clip.key, None, clip.text)
        if metadata.text is None and clip.text is not None:
            metadata = replace(metadata, text=clip.text)
        self._ready.append(
            PartRow(
                clip.key,
                clip.encoded.codes,
                clip.num_samples,
                clip.sample_rate,
                metadata,
                clip.offset,
                clip.size,
                clip.audio_xxh64,
                clip.encoded.side,
            )
        )
        self.codes += 1
        self.frames += clip.encoded.codes.shape[1]
        self.samples += clip.num_samples
        seconds = clip.num_samples / clip.sample_rate
        self.source_seconds += seconds
        smallest, largest = self._key_range or (clip.key, clip.key)
        self._key_range = min(smallest, clip.key), max(largest, clip.key)
        self._languages.setdefault(metadata.language, _Language()).add(metadata.speaker, seconds)
