"""The shards to train on: those that `xytok tokenize` finds, in any storage it can read."""

from functools import partial

from pipeline.corpus.listing import list_shards
from pipeline.corpus.shard import open_shard
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from xy_codec.training.shard_audio import SpeechShard


def stored_shards(pattern: str) -> list[SpeechShard]:
    """The shards behind a pattern, sorted by URL."""
    storage = Storage()
    return [
        SpeechShard(redact(shard.url), shard.source8, partial(open_shard, shard, storage))
        for shard in list_shards([pattern], storage)
    ]
