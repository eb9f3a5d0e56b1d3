"""Stage one: all that is not frozen learns reconstruction, and codes that show the text."""

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xy_codec.training.batch import Batch
from xy_codec.training.codebook_update import StepFrames, initialize, update
from xy_codec.training.listening_losses import ListeningLosses
from xy_codec.training.ranks import add_up, average_gradients, find_place, gathering
from xy_codec.training.recipe import Recipe
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.spread_loss import spread_loss
from xy_codec.training.stage import Average, Learner, Losses, autocast, sum_up
from xy_codec.training.text_branch import build_text_branch
from xy_codec.training.training_codec import TrainingCodec, recompute_activations

logger = logging.getLogger(__name__)
_TOLD_AT = [20 * 2**each for each in range(20)]  # steps without a text, one after the other
_CODEBOOK_DRAWS = 2  # apart from the draws of speech, see `speech_batches.py`


class CodecWithText(nn.Module):
    """Codec and text branch: one module, so that DDP knows of all gradients."""

    def __init__(self, codec: TrainingCodec, recipe: Recipe) -> None:
        super().__init__()
        self.codec = codec
        config = codec.model.config
        self.text = build_text_branch(recipe.text, config.quantizer_kwargs.output_dim)
        self.spectral = SpectralLoss(recipe.losses.spectral, config.output_sample_rate)
        self.listening = ListeningLosses(recipe.losses, config)
        self.has_spread = bool(recipe.losses.spread)

    def forward(
        self, waves: Tensor, lengths: Tensor, texts: tuple[str, ...], *, quantize: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Losses `[B]` or sums of them, the latents and the chosen entries of a batch."""
        made = self.codec(waves, lengths, quantize=quantize)
        with torch.autocast(waves.device.type, enabled=False):
            losses = {"recon": self.spectral(made.waves, waves, lengths)}
            losses["commit"] = made.commitment
            if self.has_spread:
                losses["spread"] = spread_loss(made.latents)
        losses |= self.listening(made.waves, waves, lengths)
        if self.text is not None:
            num_frames = -(-lengths // self.codec.frame_samples)
            losses["asr"] = self.text(made.frames, num_frames, texts)
        return losses, made.latents.detach(), made.indices


class PretrainStage:
    """Reconstruction, commitment and text losses; codebooks learn by moving averages."""

    _frames: StepFrames  # of the step whose gradients are there

    def __init__(self, codec: TrainingCodec, recipe: Recipe, device: torch.device) -> None:
        self.codec = codec
        self.recipe = recipe
        self.device = device
        self.precision: str = recipe.precision
        self.trial_step = -1  # before codebooks start
        self.books = codec.model.quantizer.codebooks()
        inner = CodecWithText(codec, recipe).to(device)
        self.text = inner.text
        if recipe.recompute_activations:
            recompute_activations(inner)
        encoder = list(codec.model.acoustic_encoder.parameters())
        known = {id(each) for each in encoder}
        rest = [each for each in inner.parameters() if each.requires_grad and id(each) not in known]
        groups = [(rest, 1.0)]
        if not recipe.model.single_channel:
            groups.append((encoder, recipe.optimizer.acoustic_encoder_share))
        self.learner = Learner(groups, recipe.optimizer, recipe.steps)
        trained = [each for each in codec.parameters() if each.requires_grad]
        books = [book.codebook for book in self.books]
        self.average = Average([*trained, *books], recipe.optimizer.average_decay)
        self.model = average_gradients(inner)
        # Latents of steps before there are codes, and of the step whose gradients are there.
        self._seen: deque[Tensor] = deque(maxlen=recipe.codebooks.kmeans_batches)
        self._coded: list[tuple[Tensor, Tensor | None]] = []
        self._silent = 0  # steps since one had a text

    def gradients(self, batches: list[Batch], number: int) -> dict[str, float]:
        """Gather the gradients of step `number`."""
        self.codec.train()
        batches = [each.to(self.device) for each in batches]
        num_clips, frame = self.recipe.speech.batch_clips, self.codec.frame_samples
        self._frames = StepFrames(batches, num_clips, frame)
        self._start_codebooks(batches, number)
        texts = self._count_texts(batches)
        losses = Losses(self.device)
        for batch in batches:
            with gathering(self.model, is_last=batch is batches[-1]):
                losses.add(self._learn(batch, texts))
        return losses.of_all()

    def apply(self, number: int) -> dict[str, float]:
        """Move weights, then codebooks, once a step however many batches it had."""
        found = {"gradient": self.learner.step(number), "replaced": 0.0}
        latents = torch.cat([each for each, _ in self._coded])
        if self.codec.is_initialized:
            chosen = [each for _, each in self._coded if each is not None]
            replaced = update(
                self.books,
                latents,
                torch.cat(chosen, dim=1),
                self._frames,
                self.recipe.codebooks,
                np.random.default_rng([self.recipe.seed, _CODEBOOK_DRAWS, number]),
            )
            self.average.update(number)
            for book, entries in zip(self.books, replaced, strict=True):
                self.average.begin_again(book.codebook, entries)
            found["replaced"] = float(sum(map(len, replaced)))
        else:
            self._seen.append(self._frames.collect(latents))
            self.average.update(number)
        self._coded = []
        return found

    def discard(self) -> None:
        """Forget gradients and latents of a step."""
        self.learner.discard()
        self._coded = []

    def _learn(self, batch: Batch, texts: float) -> dict[str, Tensor]:
        with autocast(self.precision, self.device):
            losses, latents, indices = self.model(
                batch.waves, batch.lengths, batch.texts, quantize=self.codec.is_initialized
            )
        self._coded.append((latents, indices))
        clips, world = self.recipe.speech.batch_clips, find_place().world
        of_clips = [name for name in losses if name not in ("asr", "spread")]
        parts = {name: losses[name].sum() / clips for name in of_clips}
        if "asr" in losses:
            parts["asr"] = losses["asr"] / max(texts, 1.0)
        if "spread" in losses:
            # Every process has the value of all.
            parts["spread"] = losses["spread"] / world
        loss = sum_up(self.recipe.losses, parts)
        # DDP takes the mean over processes, where the parts of a step are to be added up.
        (world * loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss, **parts}

    def _count_texts(self, batches: list[Batch]) -> float:
        if self.text is None:
            return 0.0
        frame = self.codec.frame_samples
        found = sum(self.text.count(each.texts, -(-each.lengths // frame)) for each in batches)
        count = float(add_up(torch.tensor(float(found), device=self.device)))
        self._silent = 0 if count else self._silent + 1
        if self._silent in _TOLD_AT and not find_place().rank:
            logger.warning(
                "`text.kind` is `%s`, but no clip of the last %d steps has a text to learn from: "
                "codes do not learn to show what is said. Expected `text` in the JSON of clips, or "
                "a `.txt` beside them; what is longer than `speech.crop_seconds` (%g) is cut and "
                "has none",
                *(self.recipe.text.kind, self._silent, self.recipe.speech.crop_seconds),
            )
        return count

    def _start_codebooks(self, batches: list[Batch], number: int) -> None:
        if self.codec.is_initialized or number < self.recipe.codebooks.start_step:
            return
        if not self._seen:
            with torch.no_grad(), autocast(self.precision, self.device):
                latents = [
                    self.codec(each.waves, each.lengths, quantize=False).latents for each in batches
                ]
            self._seen.append(self._frames.collect(torch.cat(latents)))
        random = np.random.default_rng([self.recipe.seed, _CODEBOOK_DRAWS, number])
        residual = torch.cat(list(self._seen))
        for book in self.books:
            initialize(book, residual, self._frames.total, self.recipe.codebooks, random)
            residual = residual - book.lookup(book.nearest(residual))
            self.average.begin_again(book.codebook)
        self._seen.clear()

    def state(self) -> dict[str, Any]:
        """Weights, averages and optimizer."""
        return {
            "codec": self.codec.state_dict(),
            "average": self.average.values,
            "optimizer": self.learner.optimizer.state_dict(),
            "seen": list(self._seen),
            "text": self._trained_text(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.load_state_dict(state["codec"])
        self.average.values = [each.to(self.device) for each in state["average"]]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self._seen.extend(each.to(self.device) for each in state["seen"])
        with torch.no_grad():
            for name, tensor in self._trained_text().items():
                tensor.copy_(state["text"][name])

    def _trained_text(self) -> dict[str, Tensor]:
        """Weights of the text branch; a frozen language model is where it was loaded from."""
        parameters = [] if self.text is None else self.text.named_parameters()
        return {name: each.detach() for name, each in parameters if each.requires_grad}
