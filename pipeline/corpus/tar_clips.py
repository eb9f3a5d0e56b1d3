"""The clips of a tar, paired by WebDataset's rules."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator

from pipeline.corpus.pairing import AUDIO_EXTENSIONS, Pairing, PairingEvent, RejectedMember
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard, open_shard
from pipeline.corpus.tar_reader import Hole, TarReader
from pipeline.errors import InputError
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

logger = logging.getLogger(__name__)


class TarClips:
    """Reads a tar from start to end; a clip's place is the offset of its audio."""

    def __init__(
        self, shard: Shard, storage: Storage, rules: ReadRules, note_bytes: Callable[[int], None]
    ) -> None:
        self._shard = shard
        self._reader = TarReader(
            open_shard(shard, storage, note_bytes),
            size_bytes=shard.end_bytes,
            max_member_bytes=rules.max_member_bytes,
        )
        self._pairing = Pairing(rules.key_dots)
        self._has_warned = False
        self.is_over = False

    @property
    def holes(self) -> list[Hole]:
        """The ranges that could not be read; complete after the last clip."""
        return self._reader.holes

    @property
    def members(self) -> int:
        """How many files of the tar were read so far."""
        return self._reader.members

    def __iter__(self) -> Iterator[list[PairingEvent]]:
        """What each member tells, and at last what the end tells."""
        pairing = self._pairing
        for member in self._reader:
            yield self._heeded(list(pairing.feed(member)))
        self.is_over = True
        yield self._heeded(list(pairing.finish()))
        if not pairing.has_audio and pairing.unknown.total() and not self.holes:
            raise _no_audio(self._shard, pairing.unknown)

    def _heeded(self, events: list[PairingEvent]) -> list[PairingEvent]:
        """The same events; the first clip that loses its key to another is told."""
        for event in events:
            if not isinstance(event, RejectedMember) or event.reason != Reason.KEY_DOTS:
                continue
            if not self._has_warned:
                logger.warning("In `%s`, %s", redact(self._shard.url), event.detail)
            self._has_warned = True
        return events


def _no_audio(shard: Shard, unknown: Counter[str]) -> InputError:
    seen = ", ".join(
        f"{count} {f'`.{kind[:20]}`' if kind else 'without extension'}"
        for kind, count in unknown.most_common(10)
    )
    return InputError(
        f"Shard `{redact(shard.url)}` has no audio; its members beside JSON and text are {seen}; "
        f"expected {', '.join(f'`.{kind}`' for kind in sorted(AUDIO_EXTENSIONS))}; rename them if "
        "they are audio, or leave the shard out"
    )
