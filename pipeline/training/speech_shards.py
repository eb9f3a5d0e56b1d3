"""The shards to train on: those that `xytok tokenize` finds, in any storage it can read."""

from functools import partial

from pipeline.corpus.listing import list_shards
from pipeline.corpus.shard import is_tar, open_shard
from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from xy_codec.training.shard_audio import SpeechShard


def stored_shards(pattern: str) -> list[SpeechShard]:
    """The shards behind a pattern, sorted by URL."""
    storage = Storage()
    shards = list_shards([pattern], storage)
    other = next((shard.url for shard in shards if not is_tar(shard.path)), None)
    if other is not None:
        raise UsageError(
            f"`{pattern}` names `{redact(other)}`, which is no tar; expected WebDataset tars, for "
            "training reads nothing else; make them of the corpus, and name those"
        )
    return [
        SpeechShard(redact(shard.url), shard.source8, partial(open_shard, shard, storage))
        for shard in shards
    ]
