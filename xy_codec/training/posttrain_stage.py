"""Stage two: encoder and quantiser frozen, the decoder learns against discriminators."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.training.adversarial_loss import adversarial_loss, discriminator_loss, feature_loss
from xy_codec.training.batch import Batch
from xy_codec.training.discriminator import Discriminators
from xy_codec.training.listening_losses import ListeningLosses
from xy_codec.training.ranks import average_gradients, find_place, gathering
from xy_codec.training.recipe import Recipe
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.stage import Average, Learner, Losses, autocast, sum_up
from xy_codec.training.training_codec import TrainingCodec, recompute_activations


class Judging(nn.Module):
    """The discriminators' own loss: what DDP sees of them."""

    def __init__(self, judges: Discriminators) -> None:
        super().__init__()
        self.judges = judges

    def forward(self, real: Tensor, made: Tensor) -> Tensor:
        """How badly each clip of `[B, L]` is judged."""
        return discriminator_loss(self.judges(real), self.judges(made))


class Reconstructing(nn.Module):
    """The codec from waves to waves."""

    def __init__(self, codec: TrainingCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """Waves `[B, L]` after encoding and decoding, 0 where clips have ended."""
        made: Tensor = self.codec(waves, lengths).waves
        steps = torch.arange(waves.shape[1], device=waves.device)
        return torch.where(steps < lengths[:, None], made, 0.0)


class PosttrainStage:
    """Reconstruction, adversarial and feature losses for the decoder alone."""

    _directions: list[Tensor]  # of spectral norm, before the step whose gradients are there

    def __init__(self, codec: TrainingCodec, recipe: Recipe, device: torch.device) -> None:
        self.codec = codec
        self.recipe = recipe
        self.device = device
        self.precision: str = recipe.precision
        self.trial_step = recipe.discriminators.start_step
        rate_hz = codec.model.config.output_sample_rate
        self.spectral = SpectralLoss(recipe.losses.spectral, rate_hz).to(device)
        self.listening = ListeningLosses(recipe.losses, codec.model.config).to(device)
        torch.manual_seed(recipe.seed)
        self.judges = Discriminators(recipe.discriminators).to(device)
        if recipe.recompute_activations:
            recompute_activations(codec)
        codec.requires_grad_(False)
        decoder = list(codec.decoder_parameters())
        for parameter in decoder:
            parameter.requires_grad_(True)
        self.learner = Learner([(decoder, 1.0)], recipe.optimizer, recipe.steps)
        share = recipe.discriminators.learning_rate / recipe.optimizer.learning_rate
        judges = [(list(self.judges.parameters()), share)]
        self.critic = Learner(judges, recipe.optimizer, recipe.steps)
        self.average = Average(decoder, recipe.optimizer.average_decay)
        self.model = average_gradients(Reconstructing(codec))
        self.judging = average_gradients(Judging(self.judges))

    def gradients(self, batches: list[Batch], number: int) -> dict[str, float]:
        """Gather the gradients of step `number`: the discriminators', then the decoder's."""
        # Spectral norm looks for the largest direction once a step, not once a batch.
        self._directions = [each.clone() for each in self.judges.buffers()]
        self.judges.train()
        losses = Losses(self.device)
        for batch in (each.to(self.device) for each in batches):
            is_last = batch.numbers == batches[-1].numbers
            with gathering(self.model, is_last=is_last), gathering(self.judging, is_last=is_last):
                losses.add(self._learn(batch, number))
        return losses.of_all()

    def apply(self, number: int) -> dict[str, float]:
        """Move the discriminators, then the decoder."""
        self.critic.step(number)
        found = {"gradient": self.learner.step(number)}
        self.average.update(number)
        return found

    def discard(self) -> None:
        """Forget all gradients."""
        self.critic.discard()
        self.learner.discard()
        for buffer, before in zip(self.judges.buffers(), self._directions, strict=True):
            buffer.copy_(before)

    def _learn(self, batch: Batch, number: int) -> dict[str, Tensor]:
        clips, world = self.recipe.speech.batch_clips, find_place().world
        with autocast(self.precision, self.device):
            made = self.model(batch.waves, batch.lengths)
        self.judges.requires_grad_(True)
        with autocast(self.precision, self.device):
            judged = self.judging(batch.waves, made.detach()).sum() / clips
        (world * judged).backward()
        self.judges.eval()
        self.judges.requires_grad_(False)
        losses = self._losses(batch, made, number)
        parts = {name: each.sum() / clips for name, each in losses.items()}
        loss = sum_up(self.recipe.losses, parts)
        (world * loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss, **parts, "judges": judged}

    def _losses(self, batch: Batch, made: Tensor, number: int) -> dict[str, Tensor]:
        recon = self.spectral(made, batch.waves, batch.lengths)
        with autocast(self.precision, self.device):
            heard = self.listening(made, batch.waves, batch.lengths)
        if number < self.recipe.discriminators.start_step:
            nothing = torch.zeros_like(recon)
            return {"recon": recon, "adversarial": nothing, "feature": nothing, **heard}
        with autocast(self.precision, self.device):
            theirs, mine = self.judges(batch.waves), self.judges(made)
        return {
            "recon": recon,
            "adversarial": adversarial_loss(mine),
            "feature": feature_loss(theirs, mine),
            **heard,
        }

    def state(self) -> dict[str, Any]:
        """Weights, averages, discriminators and both optimizers."""
        return {
            "codec": self.codec.state_dict(),
            "average": self.average.values,
            "optimizer": self.learner.optimizer.state_dict(),
            "judges": self.judges.state_dict(),
            "critic": self.critic.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.load_state_dict(state["codec"])
        self.average.values = [each.to(self.device) for each in state["average"]]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.judges.load_state_dict(state["judges"])
        self.critic.optimizer.load_state_dict(state["critic"])
