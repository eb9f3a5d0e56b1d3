"""The clips of a list of audio files; a clip's place is the number of its line.

Files are fetched ahead of the reader. Segments of one recording that follow each other read it
once.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.corpus.audio_list import ListedClip, ListedFile, Span, locate, read_list
from pipeline.corpus.audio_span import SpanFault, cut_span, plain_recording
from pipeline.corpus.pairing import ClipFiles, FoundClip, PairingEvent, RejectedMember
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_reader import Hole, TarMember
from pipeline.errors import InputError
from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, redact

_READERS = 8
_AHEAD_BYTES = 32 << 20
_AHEAD_FILES = 64
_MAX_TEXT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The bytes of a clip's files; `audio` is None where the file is too large."""

    audio: bytes | None
    json: bytes | None
    text: bytes | None


class ListClips:
    """Reads the files of a list in its order."""

    def __init__(
        self, shard: Shard, storage: Storage, rules: ReadRules, note_bytes: Callable[[int], None]
    ) -> None:
        self._files = _Files(shard.url, storage, rules.max_member_bytes)
        self._clips = read_list(shard.listed)
        self._max_bytes = rules.max_member_bytes
        self._pyav = rules.pyav
        # The recording that was cut last, and how it is cut: segments of one follow each other.
        self._recording: tuple[bytes, bytes | SpanFault] = b"", b""
        self._note_bytes = note_bytes
        self._noted: set[str] = set()
        self.holes: Sequence[Hole] = ()
        self.members = 0
        self.is_over = False

    def __iter__(self) -> Iterator[list[PairingEvent]]:
        """The clip or reject of each line."""
        for clip, fetched in self._files.fetch(self._clips):
            event = self._event(self.members, clip, fetched)
            self.members += 1
            self.is_over = self.members == len(self._clips)
            yield [event]

    def _event(self, line: int, clip: ListedClip, fetched: _Fetched | None) -> PairingEvent:
        if clip.audio is None or fetched is None:
            place = TarMember("", line, 0, None)
            return RejectedMember(clip.key, clip.reason or Reason.MISSING_AUDIO, clip.detail, place)
        if clip.audio.path not in self._noted:
            self._note_bytes(clip.audio.size_bytes)
            self._noted.add(clip.audio.path)
        audio: bytes | SpanFault | None = fetched.audio
        if clip.span is not None and fetched.audio is not None:
            audio = self._cut(fetched.audio, clip.span)
        if isinstance(audio, SpanFault):
            place = TarMember(clip.audio.path, line, 0, None)
            return RejectedMember(clip.key, audio.reason, audio.detail, place)
        size = clip.audio.size_bytes if audio is None else len(audio)
        member = TarMember(clip.audio.path, line, size, audio)
        fields = clip.fields or None
        return FoundClip(
            ClipFiles(
                clip.key,
                line,
                member,
                fields if fetched.json is None else fetched.json,
                fetched.text,
            )
        )

    def _cut(self, payload: bytes, span: Span) -> bytes | SpanFault:
        if self._recording[0] is not payload:
            self._recording = b"", b""  # so that only one is in memory
            self._recording = payload, plain_recording(payload, pyav=self._pyav)
        plain = self._recording[1]
        return plain if isinstance(plain, SpanFault) else cut_span(plain, span, self._max_bytes)


class ListAudio:
    """Reads the audio of single lines of the list of a finished shard."""

    def __init__(
        self, url: str, storage: Storage, rules: ReadRules, listed: Callable[[], bytes]
    ) -> None:
        self._files = _Files(url, storage, rules.max_member_bytes)
        self._max_bytes = rules.max_member_bytes
        self._pyav = rules.pyav
        self._listed = listed
        self._clips: list[ListedClip] | None = None
        self._lock = threading.Lock()

    def __call__(self, line: int, _size: int) -> bytes:
        """The bytes of a line's audio."""
        with self._lock:
            if self._clips is None:
                self._clips = read_list(self._listed())
        clip = self._clips[line]
        audio: bytes | SpanFault | None = None
        if clip.audio is not None:
            audio = self._files.read(clip.audio)
            if clip.span is not None:
                audio = plain_recording(audio, pyav=self._pyav)
            if clip.span is not None and isinstance(audio, bytes):
                audio = cut_span(audio, clip.span, self._max_bytes)
        if not isinstance(audio, bytes):
            why = clip.detail if audio is None else audio.detail
            raise InputError(
                f"Clip `{clip.key}` has no audio ({why}); expected the file that was tokenized; "
                "put it back"
            )
        return audio


class _Files:
    """Fetches the files of a list, the next ones while the last one is in use."""

    def __init__(self, list_url: str, storage: Storage, max_bytes: int) -> None:
        self._list_url = list_url
        self._storage = storage
        self._max_bytes = max_bytes

    def fetch(self, clips: Sequence[ListedClip]) -> Iterator[tuple[ListedClip, _Fetched | None]]:
        """Every clip with the bytes of its files; None where it has no audio."""
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="xytok-file")
        waiting: deque[tuple[ListedClip, Future[_Fetched] | None]] = deque()
        left = iter(clips)
        ahead_bytes = 0
        last: tuple[str, Future[_Fetched]] | None = None
        try:
            more = True
            while more or waiting:
                while more and ahead_bytes < _AHEAD_BYTES and len(waiting) < _AHEAD_FILES:
                    clip = next(left, None)
                    more = clip is not None
                    if clip is None or clip.audio is None:
                        waiting += [(clip, None)] if clip is not None else []
                        continue
                    if last is None or last[0] != clip.audio.path:
                        last = clip.audio.path, pool.submit(self._fetch, clip)
                        ahead_bytes += clip.audio.size_bytes
                    waiting.append((clip, last[1]))
                clip, future = waiting.popleft()
                fetched = None if future is None else future.result()
                if clip.audio is not None and not (waiting and waiting[0][1] is future):
                    ahead_bytes -= clip.audio.size_bytes
                yield clip, fetched
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def read(self, file: ListedFile) -> bytes:
        """The bytes of a file; raises where it is not as it was listed."""
        url = locate(file.path, self._list_url)
        content = self._storage.read_bytes(url)
        is_same = len(content) == file.size_bytes
        if is_same and is_local(url):
            is_same = self._storage.file_info(url).etag == file.etag
        if not is_same:
            raise InputError(
                f"`{redact(url)}` was replaced since it was listed; expected a source that stays "
                "as listed; run the command again once the new one is whole"
            )
        return content

    def _fetch(self, clip: ListedClip) -> _Fetched:
        assert clip.audio is not None
        is_small = clip.audio.size_bytes <= self._max_bytes
        return _Fetched(
            self.read(clip.audio) if is_small else None,
            self._text(clip.json),
            self._text(clip.text),
        )

    def _text(self, file: ListedFile | None) -> bytes | None:
        if file is None:
            return None
        # A huge one counts as empty, so that its JSON is reported.
        return self.read(file) if file.size_bytes <= _MAX_TEXT_BYTES else b""
