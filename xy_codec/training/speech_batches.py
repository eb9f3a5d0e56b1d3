"""Batches of speech that do not depend on how many processes share them.

Clip i of step n is cut and changed by draws from seed, n and i alone. Process r of R takes the
clips r, r + R, r + 2 R …
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xy_codec.errors import ConfigError
from xy_codec.training.batch import Batch
from xy_codec.training.drawn_speech import DrawnSpeech
from xy_codec.training.ranks import Place
from xy_codec.training.recipe import SpeechConfig
from xy_codec.training.shard_audio import ListShards, local_shards, to_float
from xy_codec.training.speech_change import change_pitch, change_wave
from xy_codec.training.streamed_speech import StreamedSpeech

_SPEECH_DRAWS = 0  # apart from the draws of shards (1) and of codebooks (2)
_CROP_DRAWS = 3
Random = np.random.Generator


class _Made(NamedTuple):
    """The batches of a step, and where the speech goes on behind it."""

    batches: list[Batch]
    position: Tensor


class SpeechBatches:
    """What one process hears in each step, made ahead in the background."""

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
        check_shares(config, place.world)
        wanted = [int(config.crop_seconds * share * rate_hz) for share in config.crop_shares]
        self.crops = [max(1, samples // frame_samples) * frame_samples for samples in wanted]
        mine = list(range(place.rank, config.batch_clips, place.world))
        size = config.clips_at_once or len(mine)
        self.shares = [mine[first : first + size] for first in range(0, len(mine), size)]
        shards = list_shards(config.shards)
        self.speech: DrawnSpeech | StreamedSpeech = (
            DrawnSpeech(shards, config, rate_hz)
            if config.read == "draw"
            else StreamedSpeech(shards, config, rate_hz, seed)
        )
        self.place = place
        self.position = self.speech.position()  # behind the last step that was taken
        self._maker = ThreadPoolExecutor(1, "batches")
        self._ahead: dict[int, Future[_Made]] = {}

    def next(self, step: int) -> list[Batch]:
        """The batches of a step; the next step is made in the background."""
        made = (self._ahead.pop(step, None) or self._maker.submit(self._make, step)).result()
        self._ahead = {step + 1: self._maker.submit(self._make, step + 1)}
        self.position = made.position
        return made.batches

    def restore(self, position: Tensor) -> None:
        """Go on behind the step that had this `position`, of all processes added up."""
        for ahead in self._ahead.values():
            ahead.result()
        self._ahead = {}
        mine = position.clone()
        mine[torch.arange(len(mine)) % self.place.world != self.place.rank] = 0
        self.speech.go_to(mine)
        self.position = mine

    def close(self) -> None:
        """End the background work."""
        self._maker.shutdown(cancel_futures=True)
        self.speech.close()

    def _make(self, step: int) -> _Made:
        batches = [self._batch(step, numbers) for numbers in self.shares]
        return _Made(batches, self.speech.position())

    def _batch(self, step: int, numbers: list[int]) -> Batch:
        crop = self.crops[0]
        if len(self.crops) > 1:
            crop = int(np.random.default_rng([self.seed, _CROP_DRAWS, step]).choice(self.crops))
        waves = np.zeros((len(numbers), crop), np.float32)
        lengths, texts = [], []
        for number, wave in zip(numbers, waves, strict=True):
            random = np.random.default_rng([self.seed, _SPEECH_DRAWS, step, number])
            piece, text = self._piece(number, crop, random)
            wave[: len(piece)] = piece
            wave[:] = change_wave(wave, self.config, random)
            lengths.append(len(piece))
            texts.append(text)
        return Batch(torch.from_numpy(waves), torch.tensor(lengths), tuple(texts), tuple(numbers))

    def _piece(self, number: int, crop: int, random: Random) -> tuple[npt.NDArray[np.float32], str]:
        spare = self.rate_hz // 100
        clip = self.speech.clip(number, int(crop * max(self.config.pitches)) + spare, random)
        pitch = float(random.choice(self.config.pitches))
        size = int(crop * pitch) + spare
        total = len(clip.samples)
        start = int(random.integers(total - size)) if total > size else 0
        piece = change_pitch(to_float(clip.samples[start : start + size]), pitch)
        return piece[:crop], clip.text if total <= size else ""


def check_shares(config: SpeechConfig, world: int) -> None:
    """Refuse a number of processes that cannot share a step evenly."""
    streams = config.streams or config.batch_clips
    if config.batch_clips % streams:
        raise ConfigError(
            f"`speech.streams` is {streams} and `speech.batch_clips` {config.batch_clips}; "
            "expected as many clips from every stream in a step. Set `speech.streams` to a divisor."
        )
    shared, name = (
        (config.batch_clips, "speech.batch_clips")
        if config.read == "draw"
        else (streams, "speech.streams")
    )
    if shared % world:
        fitting = [each for each in range(1, shared + 1) if not shared % each]
        raise ConfigError(
            f"{world} processes cannot share `{name}` {shared} evenly; expected one of "
            f"{', '.join(map(str, fitting))} processes. Change their number or the recipe."
        )
