"""Batches of speech: the batch of step n is the same whenever and however often it is asked for.

Every epoch shuffles the shards anew and takes a pool of them at a time; within a pool, clips and
pieces are drawn at random. Every draw depends on seed, step and rank only, so a run resumes with
the step's number alone.
"""

from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xy_codec.errors import ConfigError
from xy_codec.training.batch import Batch
from xy_codec.training.recipe import SpeechConfig
from xy_codec.training.shard_audio import ListShards, ShardAudio, load_shard, local_shards
from xy_codec.training.speech_change import change_batch, change_pitch

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1


class SpeechStream:
    """Batches by step number."""

    def __init__(
        self,
        config: SpeechConfig,
        rate_hz: int,
        frame_samples: int,
        seed: int,
        place: Place,
        list_shards: ListShards = local_shards,
    ) -> None:
        self.config = config
        self.rate_hz = rate_hz
        self.seed = seed
        self.place = place
        frames = max(1, int(config.crop_seconds * rate_hz) // frame_samples)
        self.crop_samples = frames * frame_samples
        self.shards = list_shards(config.shards)
        self._loader = ThreadPoolExecutor(1, "shard-pool")
        self._maker = ThreadPoolExecutor(1, "batch")
        self._pools: dict[int, Future[Pool]] = {}
        self._ahead: dict[int, Future[Batch]] = {}

    @property
    def seconds_per_step(self) -> float:
        """Seconds of audio in a batch of one process."""
        return self.config.batch_clips * self.crop_samples / self.rate_hz

    def batch(self, step: int) -> Batch:
        """The batch of a step; the next pool is loaded in the background."""
        pool = self._pool(step // self.config.batches_per_pool)
        random = np.random.default_rng([self.seed, step, self.place.rank])
        waves = np.zeros((self.config.batch_clips, self.crop_samples), np.float32)
        lengths, texts = [], []
        for wave in waves:
            piece, text = self._piece(pool, random)
            wave[: len(piece)] = piece
            lengths.append(len(piece))
            texts.append(text)
        changed = change_batch(torch.from_numpy(waves), self.config, random)
        return Batch(changed, torch.tensor(lengths), tuple(texts))

    def next(self, step: int) -> Batch:
        """The batch of a step; the one after it is made in the background."""
        batch = self._ahead.pop(step, None)
        found = batch.result() if batch is not None else self.batch(step)
        self._ahead = {step + 1: self._maker.submit(self.batch, step + 1)}
        return found

    def close(self) -> None:
        """End the background work."""
        self._maker.shutdown(cancel_futures=True)
        self._loader.shutdown(cancel_futures=True)

    def _piece(self, pool: "Pool", random: Random) -> tuple[npt.NDArray[np.float32], str]:
        audio, number = pool.draw(random)
        pitch = float(random.choice(self.config.pitches))
        size = int(self.crop_samples * pitch) + self.rate_hz // 100
        total = int(audio.bounds[number + 1] - audio.bounds[number])
        start = int(random.integers(total - size)) if total > size else 0
        piece = change_pitch(audio.clip(number, start, size), pitch)[: self.crop_samples]
        return piece, audio.texts[number] if total <= size else ""

    def _pool(self, number: int) -> "Pool":
        is_only_one = len(self.shards) <= self.config.pool_shards
        wanted = (0,) if is_only_one else (number, number + 1)
        self._pools = {
            each: self._pools.get(each) or self._loader.submit(self._load, each) for each in wanted
        }
        return self._pools[wanted[0]].result()

    def _load(self, number: int) -> "Pool":
        mine = self.shards[self.place.rank :: self.place.world] or self.shards
        size = min(self.config.pool_shards, len(mine))
        first = number * size
        chosen = set()
        for position in range(first, first + size):
            epoch, offset = divmod(position, len(mine))
            order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(mine))
            chosen.add(int(order[offset]))
        audios = [
            load_shard(mine[each], self.rate_hz, self.config.cache) for each in sorted(chosen)
        ]
        return Pool(audios, balance=self.config.balance_speakers)


class Pool:
    """Decoded shards to draw clips from: by length alone, or with speakers evened out."""

    def __init__(self, audios: list[ShardAudio], *, balance: bool) -> None:
        self.clips: dict[str, list[tuple[ShardAudio, int]]] = defaultdict(list)
        samples: dict[str, list[int]] = defaultdict(list)
        for audio in audios:
            for number, speaker in enumerate(audio.speakers):
                self.clips[speaker].append((audio, number))
                samples[speaker].append(int(audio.bounds[number + 1] - audio.bounds[number]))
        self.speakers = sorted(self.clips)
        if not self.speakers:
            raise ConfigError(
                "No shard of the pool holds a clip that can be decoded; expected WebDataset tars "
                "with audio members. Check `speech.shards`."
            )
        hours = np.asarray([sum(samples[each]) for each in self.speakers], np.float64)
        weights = np.sqrt(hours) if balance else hours
        self._speaker_chances = weights / weights.sum()
        self._clip_chances: dict[str, Any] = {
            each: np.asarray(samples[each]) / sum(samples[each]) for each in self.speakers
        }

    def draw(self, random: Random) -> tuple[ShardAudio, int]:
        """Draw a speaker, then one of the speaker's clips, the longer the likelier."""
        speaker = self.speakers[random.choice(len(self.speakers), p=self._speaker_chances)]
        clips = self.clips[speaker]
        return clips[random.choice(len(clips), p=self._clip_chances[speaker])]
