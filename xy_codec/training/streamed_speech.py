"""Clips as a fixed number of streams give them: nothing is decoded before it is asked for.

A stream visits shards one after the other. Together the streams go through the shards in an order
that is drawn anew for every epoch: visit v of stream s of S is place s + v S of it. Within a visit
webdataset mixes up to `shuffle_clips` clips, still encoded. So a position is two numbers a stream,
the visit and how many clips it has given, and a stream goes on by reading one shard again.
"""

import random as stdlib_random
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from webdataset.filters import shuffle

from xy_codec.errors import ConfigError
from xy_codec.training.recipe import SpeechConfig
from xy_codec.training.shard_audio import Clip, Group, SpeechShard, decode_group, read_groups

_SHARD_DRAWS = 1  # apart from the draws of speech (0) and of codebooks (2)


class StreamedSpeech:
    """Clip i of a step comes from stream i modulo their number; streams are opened when asked."""

    def __init__(
        self, shards: list[SpeechShard], config: SpeechConfig, rate_hz: int, seed: int
    ) -> None:
        self.shards = shards
        self.config = config
        self.rate_hz = rate_hz
        self.seed = seed
        self.num_streams = config.streams or config.batch_clips
        self._at = [(0, 0)] * self.num_streams  # visit, and groups given in it
        self._open: dict[int, Iterator[Group]] = {}

    def clip(self, number: int, _wanted: int, _random: np.random.Generator) -> Clip:
        """The next clip of the stream that clip `number` of a step belongs to."""
        stream = number % self.num_streams
        without = 0
        while without <= len(self.shards):
            visit, given = self._at[stream]
            groups = self._open.get(stream)
            if groups is None:
                groups = self._open[stream] = islice(self._visit(stream, visit), given, None)
            group = next(groups, None)
            if group is None:
                del self._open[stream]
                self._at[stream] = (visit + 1, 0)
                without += 1
                continue
            self._at[stream] = (visit, given + 1)
            clip = decode_group(group, self.rate_hz)
            if clip is not None:
                return clip
        raise ConfigError(
            f"No shard of {len(self.shards)} holds a clip that can be decoded; expected "
            "WebDataset tars with audio members. Check `speech.shards`."
        )

    def position(self) -> Tensor:
        """Visit and groups given `[S, 2]`; (0, 0) for streams that others read."""
        return torch.tensor(self._at)

    def go_to(self, position: Tensor) -> None:
        """Go on from the positions of all streams."""
        self._open = {}
        self._at = [(int(visit), int(given)) for visit, given in position]

    def close(self) -> None:
        """Close the shards that are open."""
        self._open = {}

    def _visit(self, stream: int, visit: int) -> Iterator[Group]:
        epoch, place = divmod(stream + visit * self.num_streams, len(self.shards))
        order = np.random.default_rng([self.seed, _SHARD_DRAWS, epoch]).permutation(
            len(self.shards)
        )
        # A generator of Python's own kind is what webdataset draws with.
        draws = stdlib_random.Random(f"{self.seed} {stream} {visit}")
        size = self.config.shuffle_clips
        mixed: Iterator[Group] = shuffle(size, initial=size, rng=draws)(
            read_groups(self.shards[order[place]])
        )
        return mixed
