"""Stage two: encoder and codebooks frozen, the decoder learns against discriminators."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from xy_codec.training.adversarial_loss import adversarial_loss, discriminator_loss, feature_loss
from xy_codec.training.batch import Batch
from xy_codec.training.discriminator import Discriminators
from xy_codec.training.recipe import Recipe
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.stage import AverageWeights, Learner, precision
from xy_codec.training.training_codec import TrainingCodec


class PosttrainStage:
    """Reconstruction, adversarial and feature losses for the decoder alone."""

    def __init__(self, codec: TrainingCodec, recipe: Recipe, device: torch.device) -> None:
        self.codec = codec
        self.recipe = recipe
        self.device = device
        rate_hz = codec.model.config.output_sample_rate
        self.spectral = SpectralLoss(recipe.losses.spectral, rate_hz).to(device)
        torch.manual_seed(recipe.seed)
        self.judges = Discriminators(recipe.discriminators).to(device)
        for parameter in codec.encoder_parameters():
            parameter.requires_grad_(False)
        decoder = list(codec.decoder_parameters())
        self.learner = Learner([(decoder, 1.0)], recipe.optimizer, recipe.steps)
        share = recipe.discriminators.learning_rate / recipe.optimizer.learning_rate
        judges = [(list(self.judges.parameters()), share)]
        self.critic = Learner(judges, recipe.optimizer, recipe.steps)
        self.average = AverageWeights(decoder, recipe.optimizer.average_decay)

    def step(self, batches: Iterable[Batch], number: int) -> dict[str, float]:
        """Learn from the batches of step `number`: first the discriminators, then the decoder."""
        batches = list(batches)
        sums: dict[str, float] = {}
        for batch in batches:
            waves, lengths = batch.waves.to(self.device), batch.lengths.to(self.device)
            # Nothing in the frozen parts needs gradients, so autograd records nothing of them.
            with precision(self.recipe, self.device):
                made = self.codec(waves, lengths).waves
            judged = self._judge(waves, made.detach()) / len(batches)
            judged.backward()  # type: ignore[no-untyped-call]
            losses = self._losses(waves, lengths, made, number)
            (losses["loss"] / len(batches)).backward()  # type: ignore[no-untyped-call]
            losses["judges"] = judged * len(batches)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        self.critic.step(number)
        sums["gradient"] = self.learner.step(number)
        self.average.update(number)
        return sums

    def _judge(self, waves: Tensor, made: Tensor) -> Tensor:
        self.judges.requires_grad_(True)
        with precision(self.recipe, self.device):
            return discriminator_loss(self.judges(waves), self.judges(made))

    def _losses(
        self, waves: Tensor, lengths: Tensor, made: Tensor, number: int
    ) -> dict[str, Tensor]:
        weights = self.recipe.losses
        recon = self.spectral(made, waves, lengths)
        if number < self.recipe.discriminators.start_step:
            nothing = recon.new_zeros(())
            loss = weights.recon * recon
            return {"loss": loss, "recon": recon, "adversarial": nothing, "feature": nothing}
        self.judges.requires_grad_(False)
        with precision(self.recipe, self.device):
            theirs, mine = self.judges(waves), self.judges(made)
        adversarial, feature = adversarial_loss(mine), feature_loss(theirs, mine)
        loss = weights.recon * recon + weights.adversarial * adversarial + weights.feature * feature
        return {"loss": loss, "recon": recon, "adversarial": adversarial, "feature": feature}

    def state(self) -> dict[str, Any]:
        """Weights, averages, discriminators and both optimizers."""
        return {
            "codec": self.codec.state_dict(),
            "average": self.average.values,
            "optimizer": self.learner.optimizer.state_dict(),
            "judges": self.judges.state_dict(),
            "critic": self.critic.optimizer.state_dict(),
            "random": self.codec.random.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.load_state_dict(state["codec"])
        self.average.values = [each.to(self.device) for each in state["average"]]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.judges.load_state_dict(state["judges"])
        self.critic.optimizer.load_state_dict(state["critic"])
        self.codec.random.set_state(state["random"])
