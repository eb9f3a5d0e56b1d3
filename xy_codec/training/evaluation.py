"""Scores on held-out speakers while training, always of the same clips."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from xy_codec.training.recipe import SpeechConfig
from xy_codec.training.shard_audio import ListShards, load_shard, local_shards, to_float
from xy_codec.training.training_codec import TrainingCodec

Wave = npt.NDArray[np.float32]
# Takes reference, reconstruction and sample rate; gives scores by name, NaN where there is none.
Scorer = Callable[[Wave, Wave, int], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class HeldOutClip:
    """A piece of held-out speech, a whole number of frames long."""

    speaker: str
    wave: Wave


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean scores, usage of each codebook, and a few reconstructions to listen to."""

    scores: Mapping[str, float]
    usage: tuple[float, ...]
    samples: tuple[tuple[HeldOutClip, Wave], ...]


def held_out_clips(
    config: SpeechConfig,
    rate_hz: int,
    frame_samples: int,
    list_shards: ListShards = local_shards,
    *,
    per_speaker: int = 2,
    most_speakers: int = 100,
) -> list[HeldOutClip]:
    """Clips of held-out speakers, cut to five seconds; every call chooses the same.

    Of more than `most_speakers` as many are drawn: one process scores while all others wait.
    """
    found: dict[str, list[Wave]] = defaultdict(list)
    for shard in list_shards(config.held_out):
        audio = load_shard(shard, rate_hz, config.cache)
        for number, speaker in enumerate(audio.speakers):
            wave = to_float(audio.clip(number).samples[: 5 * rate_hz])
            whole = wave[: len(wave) // frame_samples * frame_samples]
            if len(whole) >= 2 * rate_hz:
                found[speaker].append(whole)
        for speaker in sorted(found, key=_draw)[most_speakers:]:
            del found[speaker]
    chosen = []
    for speaker, waves in sorted(found.items()):
        step = max(1, len(waves) // per_speaker)
        chosen += [HeldOutClip(speaker, wave) for wave in waves[::step][:per_speaker]]
    return chosen


def _draw(speaker: str) -> str:
    """Speakers in an order that has nothing to do with their names."""
    return hashlib.sha1(speaker.encode()).hexdigest()


@torch.no_grad()
def evaluate(
    codec: TrainingCodec, clips: list[HeldOutClip], scorers: list[Scorer], rate_hz: int
) -> Evaluation:
    """Reconstruct and score every clip alone, in float32."""
    codec.eval()
    device = next(codec.parameters()).device
    scores: dict[str, list[float]] = defaultdict(list)
    chosen: list[torch.Tensor] = []
    samples: list[tuple[HeldOutClip, Wave]] = []
    for clip in clips:
        waves = torch.from_numpy(clip.wave)[None].to(device)
        made = codec(waves, torch.tensor([waves.shape[1]], device=device))
        wave = made.waves[0].float().cpu().numpy()
        if made.indices is not None:
            chosen.append(made.indices.cpu())
        for scorer in scorers:
            for name, value in scorer(clip.wave, wave, rate_hz).items():
                scores[name].append(value)
        if len(samples) < 4:
            samples.append((clip, wave))
    means = {name: float(np.nanmean(values)) for name, values in scores.items()}
    size = codec.model.config.quantizer_kwargs.codebook_size
    usage = tuple(len(book.unique()) / size for book in torch.cat(chosen, 1)) if chosen else ()
    return Evaluation(means, usage, tuple(samples))
