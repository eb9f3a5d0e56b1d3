"""Looks whether clips have the fields that `--where` names, before a run reads all of its shards.

Without this a misspelt field filters every clip, after every shard was downloaded. `fleet/run.py`
and `inspect/plan.py` call it; it reads the first 2 MiB of a few shards. `where_check.py` judges.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.corpus.metadata import with_words
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import fields_of_clip, first_clips
from pipeline.corpus.shard import Shard
from pipeline.corpus.where_check import WhereCheck
from pipeline.errors import InputError, RefusedError
from pipeline.plural import plural
from pipeline.storage.client import Storage

# More than one, because in a corpus of several sources a field may be missing in all clips of one.
_MAX_SHARDS = 5


def check_filter_fields(rules: ReadRules, shards: Sequence[Shard], storage: Storage) -> None:
    """Raise when no clip at the beginnings of a few shards has what the filter compares."""
    if rules.where is None:
        return
    check, num_shards = WhereCheck(rules.where), 0
    for shard in shards[:: max(1, len(shards) // _MAX_SHARDS)][:_MAX_SHARDS]:
        if check.is_sure:
            return
        num_shards += 1
        for fields in _first_fields(shard, storage, rules):
            check.look_at(fields)
    check.refuse_misfits("shards", f" of {plural(num_shards, 'shard')}")


def _first_fields(shard: Shard, storage: Storage, rules: ReadRules) -> Iterator[Mapping[str, Any]]:
    try:
        clips, _ = first_clips(shard, storage, rules)
    except (InputError, RefusedError):
        return  # the run names a shard that cannot be read
    for clip in clips:
        if clip.json is not None:
            yield with_words(fields_of_clip(clip))
