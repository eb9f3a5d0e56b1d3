"""The training loop: steps, logs, evaluations, checkpoints; it resumes exactly where it stopped."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from xy_codec.errors import ConfigError, XYCodecError
from xy_codec.training.codec_start import (
    codec_config,
    codec_config_path,
    frozen_by_chance,
    start_codec,
)
from xy_codec.training.evaluation import HeldOutClip, Scorer, evaluate, held_out_clips
from xy_codec.training.export import export_codec
from xy_codec.training.fastest_precision import fastest_precision
from xy_codec.training.posttrain_stage import PosttrainStage
from xy_codec.training.pretrain_stage import PretrainStage
from xy_codec.training.ranks import Place, add_up, find_place
from xy_codec.training.recipe import Recipe
from xy_codec.training.scaled_start import scale_start
from xy_codec.training.shard_audio import ListShards, local_shards
from xy_codec.training.speech_batches import SpeechBatches
from xy_codec.training.stage import Stage
from xy_codec.training.training_log import TrainingLog

logger = logging.getLogger(__name__)
# What may change when a run goes on, because a step learns the same, but for rounding.
_FREE = {
    *("steps", "log_every", "evaluate_every", "save_every", "threads", "recompute_activations"),
    *("speech.held_out", "speech.cache", "speech.clips_at_once"),
}


class TrainingDivergedError(XYCodecError):
    """A loss or gradient is no longer a number."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, for whoever shows it."""

    step: int
    steps: int
    losses: dict[str, float]
    audio_per_second: float  # seconds of audio learned from per second, all processes together
    seconds_left: float
    processes: int = 1


class Trainer:
    """One stage of a recipe in one folder, on one device; several processes each have one."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        device: str = "cpu",
        scorers: list[Scorer] | None = None,
        show: Callable[[Progress], None] | None = None,
        list_shards: ListShards = local_shards,
        saved: Callable[[], None] | None = None,
        fetch: Callable[[str], str] = str,
    ) -> None:
        """Begin or resume.

        Args:
            recipe: what is trained, on what, and for how long.
            folder: gets checkpoint, logs and exported codecs.
            device: cpu or cuda.
            scorers: measure reconstructions of held-out speech.
            show: told of every logged step and of the last, by one process.
            list_shards: the shards behind a pattern.
            saved: called when the folder is complete, by one process.
            fetch: makes the codec to start from local.
        """
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        self.place = find_place()
        self.scorers = scorers or []
        self.show = show or (lambda _: None)
        self.saved = saved or (lambda: None)
        config = codec_config(recipe)
        self.rate_hz = config.input_sample_rate
        self.list_shards = list_shards
        self.speech = self._speech(self.place)
        _check_parts(recipe, len(self.speech.shares))
        self.held_out = self._held_out()
        random = frozen_by_chance(recipe)
        if random and not self.place.rank:
            logger.warning(
                "%s: random weights that are never trained. Expected `model.warm_start`%s",
                random.capitalize(),
                " of the first stage"
                if recipe.stage == "posttrain"
                else ", `model.whisper` or `model.train_semantic: true`",
            )
        codec = start_codec(recipe, fetch).to(self.device)
        is_new = not recipe.model.warm_start and not self.checkpoint.exists()
        if recipe.model.scaled_start and is_new:
            whole = self._speech(Place())
            scale_start(codec, whole.next(0)[0], whisper=bool(recipe.model.whisper))
            whole.close()
        self.stage: Stage = (
            PretrainStage(codec, recipe, self.device)
            if recipe.stage == "pretrain"
            else PosttrainStage(codec, recipe, self.device)
        )
        self.step = 0
        self.best = -math.inf
        self.heard = 0.0  # seconds of speech, without padding, by this process
        self._evaluated_at = -1
        folder.mkdir(parents=True, exist_ok=True)
        self.log = TrainingLog(folder, config) if not self.place.rank else None
        if self.checkpoint.exists():
            self._resume()
        elif recipe.precision == "auto":
            trial = self._speech(self.place)
            self.stage.precision = fastest_precision(self.stage, trial.next(0)[:1], self.rate_hz)
            trial.close()

    @property
    def checkpoint(self) -> Path:
        """The file that a run goes on from."""
        return self.folder / "last.pt"

    def run(self) -> None:
        """Train to the recipe's last step, then save, evaluate and export."""
        clock, since, heard = time.monotonic(), self.step, self._heard_by_all()
        while self.step < self.recipe.steps:
            losses = self.take_step()
            is_logged = self.step % self.recipe.log_every == 0
            if is_logged and self.log is not None:
                self.log.losses(self.step, losses)
            if is_logged or self.step == self.recipe.steps:
                audio = self._heard_by_all() - heard
                self._report(losses, time.monotonic() - clock, self.step - since, audio)
            if self.step % self.recipe.evaluate_every == 0:
                self.evaluate()
            if self.step % self.recipe.save_every == 0:
                self.save()
        if self._evaluated_at != self.step:
            self.evaluate()
        if self.log is not None:
            self.log.close()
        self.save()
        self.speech.close()

    def take_step(self) -> dict[str, float]:
        """Learn from the next step's batches; return what is logged of it."""
        batches = self.speech.next(self.step)
        self.heard += sum(int(each.lengths.sum()) for each in batches) / self.rate_hz
        losses = self.stage.gradients(batches, self.step)
        losses |= self.stage.apply(self.step)
        wrong = [name for name, value in losses.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingDivergedError(
                f"At step {self.step} {', '.join(wrong)} is no longer a number ({losses}); "
                "expected finite losses. Begin in a new folder with a lower "
                "`optimizer.learning_rate` or `precision: float32`, and with `best` of this "
                "output, where it has one, as `model.warm_start`."
            )
        self.step += 1
        return losses

    def save(self) -> None:
        """Write everything that later processes, however many, need to go on."""
        position = add_up(self.speech.position.to(self.device)).cpu()
        heard = self._heard_by_all()
        if self.place.rank:
            return
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "best": self.best,
            "evaluated_at": self._evaluated_at,
            "precision": self.stage.precision,
            "speech": position,
            "heard": heard,
            "stage": self.stage.state(),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        self.saved()

    def evaluate(self) -> dict[str, float]:
        """Score the averaged weights on held-out speakers; export them if they are the best yet."""
        self._evaluated_at = self.step
        hours = self._heard_by_all() / 3600
        if self.log is None:
            return {}
        if not self.held_out:
            self._export("best")
            return {}
        with self.stage.average.applied():
            found = evaluate(self.stage.codec, self.held_out, self.scorers, self.rate_hz)
        self.log.evaluation(self.step, hours, found)
        logger.info("step %d: %s", self.step, found.scores)
        rank = found.scores.get("stoi", 0.0) + 0.1 * found.scores.get("pesq_nb", 0.0)
        if rank >= self.best:
            self.best = rank
            self._export("best")
        self._export("latest")
        return dict(found.scores)

    def _speech(self, place: Place) -> SpeechBatches:
        recipe, config = self.recipe, codec_config(self.recipe)
        return SpeechBatches(
            recipe.speech,
            config.input_sample_rate,
            config.encoder_downsample_rate,
            recipe.seed,
            place,
            self.list_shards,
        )

    def _held_out(self) -> list[HeldOutClip]:
        """The clips that the first process scores; all refuse shards that hold none."""
        if not self.recipe.speech.held_out:
            return []
        config = codec_config(self.recipe)
        frame = config.encoder_downsample_rate
        clips = []
        if not self.place.rank:
            clips = held_out_clips(self.recipe.speech, self.rate_hz, frame, self.list_shards)
        if not int(add_up(torch.tensor(len(clips), device=self.device))):
            raise ConfigError(
                f"`speech.held_out` `{self.recipe.speech.held_out}` holds no clip of two seconds; "
                "expected speech to score on. Name other shards, or set it to nothing."
            )
        return clips

    def _heard_by_all(self) -> float:
        return float(add_up(torch.tensor(self.heard, dtype=torch.float64, device=self.device)))

    def _report(self, losses: dict[str, float], seconds: float, steps: int, audio: float) -> None:
        if self.place.rank:
            return
        left = (self.recipe.steps - self.step) * seconds / max(steps, 1)
        wanted, processes = self.recipe.steps, self.place.world
        speed = audio / max(seconds, 1e-9)
        self.show(Progress(self.step, wanted, losses, speed, left, processes))

    def _export(self, name: str) -> None:
        if self.stage.codec.is_initialized:
            with self.stage.average.applied():
                export_codec(
                    self.stage.codec.model, codec_config_path(self.recipe), self.folder / name
                )

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        changed = _differences(state["recipe"], asdict(self.recipe))
        if changed:
            raise ConfigError(
                f"`last.pt` of this output was made with another recipe: {'; '.join(changed)}. "
                "Expected the same to go on. Use a new folder, with `model.warm_start` for the "
                "weights alone, or pass the old values."
            )
        if state["recipe"]["steps"] != self.recipe.steps:
            logger.warning(
                "The recipe has %d steps, before it had %d: from here on the learning rate "
                "follows the new number, so the result is not that of one run",
                *(self.recipe.steps, state["recipe"]["steps"]),
            )
        self.step = state["step"]
        if state["recipe"]["speech"]["held_out"] == self.recipe.speech.held_out:
            self.best = state["best"]
        self._evaluated_at = state.get("evaluated_at", -1)
        if not self.place.rank:
            # Older checkpoints do not have it: then pieces count at their full length, as they did.
            speech = self.recipe.speech
            pieces = self.step * speech.batch_clips
            self.heard = state.get("heard", pieces * speech.mean_crop_seconds)
        if not self.place.rank:
            done, wanted = self.step, self.recipe.steps
            what = "nothing is left to train" if done >= wanted else "going on"
            logger.info("The output's `last.pt` has %d of %d steps: %s", done, wanted, what)
        self.stage.precision = state["precision"]
        if self.log is not None:
            self.log.forget_after(self.step)
        self.stage.restore(state["stage"])
        self.speech.restore(state["speech"])


def _differences(old: dict[str, Any], new: dict[str, Any], above: str = "") -> list[str]:
    """The values that must be equal to go on and are not, each with its name and both values."""
    found = []
    for name in new:
        path = f"{above}{name}"
        if path in _FREE or (name in old and old[name] == new[name]):
            continue
        if isinstance(new[name], dict) and isinstance(old.get(name), dict):
            found += _differences(old[name], new[name], f"{path}.")
        else:
            found.append(f"`{path}` was {old.get(name)!r} there and is {new[name]!r} here")
    return found


def _check_parts(recipe: Recipe, num_parts: int) -> None:
    """Refuse losses that are measured over a whole step where it is taken in parts."""
    names = [name for name in ("spread", "relative_commit") if getattr(recipe.losses, name)]
    if names and num_parts > 1:
        raise ConfigError(
            f"`losses.{names[0]}` is measured over a whole step, which `speech.clips_at_once` "
            f"{recipe.speech.clips_at_once} cuts into {num_parts}; expected one part. Set "
            "`speech.clips_at_once` to 0, or leave this loss out."
        )
