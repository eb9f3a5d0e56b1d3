"""The clips of lhotse Shar: audio from `recording.000000.tar`, text from `cuts.000000.jsonl.gz`.

The tar is read as any other, with dots in keys, because keys are the ids of cuts. What it has as
JSON describes the recording; the metadata of a clip are the supervisions of its cut.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.corpus.lists.lhotse_cuts import cut_fields
from pipeline.corpus.lists.manifest import read_manifest
from pipeline.corpus.pairing import FoundClip, PairingEvent, RejectedMember
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_clips import TarClips
from pipeline.corpus.tar_reader import Hole
from pipeline.storage.client import Storage


class SharClips:
    """Reads a tar of Shar with its cuts; a cut without audio is a reject."""

    def __init__(
        self, shard: Shard, storage: Storage, rules: ReadRules, note_bytes: Callable[[int], None]
    ) -> None:
        self._tar = TarClips(shard, storage, replace(rules, key_dots=True), note_bytes)
        self._cuts_url = shard.cuts
        self._storage = storage
        self.is_over = False

    @property
    def holes(self) -> Sequence[Hole]:
        """What could not be read of the tar."""
        return self._tar.holes

    @property
    def members(self) -> int:
        """How many files of the tar were read so far."""
        return self._tar.members

    def __iter__(self) -> Iterator[list[PairingEvent]]:
        """What each member tells, with the fields of its cut."""
        cuts = dict(read_manifest(self._cuts_url, self._storage, _named_fields))
        for events in self._tar:
            events = [_with_fields(event, cuts) for event in events]
            self.is_over = self._tar.is_over
            if self.is_over:
                events += [_orphan(key) for key in cuts]
            yield events


def _named_fields(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return str(row["id"]), cut_fields(row)


def _with_fields(event: PairingEvent, cuts: dict[str, Mapping[str, Any]]) -> PairingEvent:
    if isinstance(event, FoundClip):
        event.files.json = cuts.pop(event.files.key, event.files.json)
    elif isinstance(event, RejectedMember):
        cuts.pop(event.key, None)
    return event


def _orphan(key: str) -> RejectedMember:
    return RejectedMember(key, Reason.MISSING_AUDIO, "only a cut, no recording in the tar", None)
