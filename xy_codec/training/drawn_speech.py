"""Clips drawn at random from all shards, which are decoded first: for corpora of some hours."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xy_codec.errors import ConfigError
from xy_codec.training.recipe import SpeechConfig
from xy_codec.training.shard_audio import Clip, ShardAudio, SpeechShard, load_shard

Random = np.random.Generator


class DrawnSpeech:
    """Draws a speaker, then one of the speaker's clips, the longer the likelier."""

    def __init__(self, shards: list[SpeechShard], config: SpeechConfig, rate_hz: int) -> None:
        self.config = config
        self.clips: dict[str, list[tuple[ShardAudio, int]]] = defaultdict(list)
        samples: dict[str, list[int]] = defaultdict(list)
        for shard in shards:
            audio = load_shard(shard, rate_hz, config.cache)
            for number, speaker in enumerate(audio.speakers):
                self.clips[speaker].append((audio, number))
                samples[speaker].append(int(audio.bounds[number + 1] - audio.bounds[number]))
        self.speakers = sorted(self.clips)
        if not self.speakers:
            raise ConfigError(
                "No shard holds a clip that can be decoded; expected WebDataset tars with audio "
                "members. Check `speech.shards`."
            )
        hours = np.asarray([sum(samples[each]) for each in self.speakers], np.float64)
        weights = np.sqrt(hours) if config.balance_speakers else hours
        self._speaker_chances = weights / weights.sum()
        self._clip_chances: dict[str, Any] = {
            each: np.asarray(samples[each]) / sum(samples[each]) for each in self.speakers
        }

    def clip(self, _number: int, wanted: int, random: Random) -> Clip:
        """Draw a clip; with `join`, more of its speaker until there are `wanted` samples."""
        speaker = self.speakers[random.choice(len(self.speakers), p=self._speaker_chances)]
        clip = self._clip_of(speaker, random)
        if not self.config.join or len(clip.samples) >= wanted:
            return clip
        samples, texts = [clip.samples], [clip.text]
        while sum(map(len, samples)) < wanted:
            clip = self._clip_of(speaker, random)
            samples.append(clip.samples)
            texts.append(clip.text)
        text = " ".join(texts) if all(texts) else ""
        return Clip(np.concatenate(samples), text)

    def _clip_of(self, speaker: str, random: Random) -> Clip:
        clips = self.clips[speaker]
        audio, number = clips[random.choice(len(clips), p=self._clip_chances[speaker])]
        return audio.clip(number)

    def position(self) -> Tensor:
        """Nothing: draws do not depend on those before."""
        return torch.zeros(0, 2, dtype=torch.long)

    def go_to(self, position: Tensor) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is open."""
