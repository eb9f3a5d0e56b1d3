"""Stage one: all but the semantic encoder learns reconstruction and codes that show the text."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from xy_codec.training.batch import Batch
from xy_codec.training.recipe import Recipe
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.spread_loss import spread_loss
from xy_codec.training.stage import AverageWeights, Learner, precision
from xy_codec.training.text_branch import build_text_branch
from xy_codec.training.training_codec import TrainingCodec


class PretrainStage:
    """Reconstruction, commitment and text losses; codebooks learn by moving averages."""

    def __init__(self, codec: TrainingCodec, recipe: Recipe, device: torch.device) -> None:
        self.codec = codec
        self.recipe = recipe
        self.device = device
        config = codec.model.config
        self.spectral = SpectralLoss(recipe.losses.spectral, config.output_sample_rate).to(device)
        self.text = build_text_branch(recipe.text, config.quantizer_kwargs.output_dim)
        encoder = list(codec.model.acoustic_encoder.parameters())
        known = {id(each) for each in encoder}
        rest = [each for each in codec.parameters() if each.requires_grad and id(each) not in known]
        trained = rest + encoder
        if self.text is not None:
            self.text.to(device)
            rest += [each for each in self.text.parameters() if each.requires_grad]
        share = recipe.optimizer.acoustic_encoder_share
        self.learner = Learner([(rest, 1.0), (encoder, share)], recipe.optimizer, recipe.steps)
        self.average = AverageWeights(trained, recipe.optimizer.average_decay)
        self._seen: deque[Tensor] = deque(maxlen=recipe.codebooks.kmeans_batches)

    def step(self, batches: Iterable[Batch], number: int) -> dict[str, float]:
        """Learn from the batches of step `number`."""
        batches = list(batches)
        self.codec.train()
        self._start_codebooks(batches, number)
        sums: dict[str, float] = {}
        for batch in batches:
            losses = self._losses(batch)
            (losses["loss"] / len(batches)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        sums["gradient"] = self.learner.step(number)
        self.average.update(number)
        return sums

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        weights = self.recipe.losses
        waves, lengths = batch.waves.to(self.device), batch.lengths.to(self.device)
        with precision(self.recipe, self.device):
            made = self.codec(
                waves,
                lengths,
                quantize=self.codec.is_initialized,
                learn_codes=self.codec.is_initialized,
            )
        if made.indices is None:
            self._seen.append(made.latents.detach())
        recon = self.spectral(made.waves, waves, lengths)
        loss = weights.recon * recon + weights.commit * made.commitment
        losses = {"recon": recon, "commit": made.commitment}
        if weights.spread:
            losses["spread"] = spread_loss(made.latents)
            loss = loss + weights.spread * losses["spread"]
        if self.text is not None:
            num_frames = -(-lengths // self.codec.frame_samples)
            with precision(self.recipe, self.device):
                losses["asr"] = self.text(made.frames, num_frames, batch.texts)
            loss = loss + weights.asr * losses["asr"]
        return {"loss": loss, **losses, "replaced": recon.new_tensor(float(made.replaced))}

    def _start_codebooks(self, batches: list[Batch], number: int) -> None:
        if self.codec.is_initialized or number < self.recipe.codebooks.start_step:
            return
        if not self._seen:
            with torch.no_grad(), precision(self.recipe, self.device):
                for batch in batches:
                    waves, lengths = batch.waves.to(self.device), batch.lengths.to(self.device)
                    self._seen.append(self.codec(waves, lengths, quantize=False).latents)
        self.codec.start_codebooks(torch.cat(list(self._seen)))
        self._seen.clear()

    def state(self) -> dict[str, Any]:
        """Weights, averages, optimizer and random state."""
        return {
            "codec": self.codec.state_dict(),
            "average": self.average.values,
            "optimizer": self.learner.optimizer.state_dict(),
            "random": self.codec.random.get_state(),
            "seen": list(self._seen),
            "text": None if self.text is None else self.text.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self.codec.load_state_dict(state["codec"])
        self.average.values = [each.to(self.device) for each in state["average"]]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.codec.random.set_state(state["random"])
        self._seen.extend(each.to(self.device) for each in state["seen"])
        if self.text is not None:
            self.text.load_state_dict(state["text"])
