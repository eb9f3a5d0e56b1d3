"""Trains a probe and lets it write down clips; the same command again goes on where it was.

A step's clips follow from the seed and its number alone, so that a training that was ended and
resumed gives the weights of one that was not.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.evaluate.probe.clips import SpokenClip
from pipeline.evaluate.probe.inputs import ProbeInput
from pipeline.evaluate.probe.model import BLANK, Alphabet, ProbeModel
from pipeline.evaluate.probe.plan import ProbePlan
from pipeline.plural import plural
from pipeline.storage.client import Storage

# Clips of about one length lie together in a batch: they are sorted within so many batches.
_BATCHES_SORTED = 16
_LONGEST_GRADIENT = 1.0
# Of all steps, those in which the learning rate falls.
_FALLING_SHARE = 0.2
# Often enough that little is lost, seldom enough to take no time; it changes no result.
_SAVE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the state of a training lies."""

    storage: Storage
    url: str


class ProbeTraining:
    """A probe with its optimiser, at some step."""

    def __init__(
        self,
        source: ProbeInput,
        clips: Sequence[SpokenClip],
        plan: ProbePlan,
        device: str = "cpu",
    ) -> None:
        """Take the clips that CTC can learn: those with a step for every character."""
        self.plan, self.source = plan, source
        self.alphabet = Alphabet.of(clip.text for clip in clips)
        repeats = source.repeats(plan.lowest_rate_hz)
        self.clips = [clip for clip in clips if self._has_room(clip, repeats)]
        if not self.clips:
            raise UsageError(
                f"None of {plural(len(clips), 'clip')} has a step for every character of its "
                "text; expected "
                "transcripts of what is said. Check the texts, or raise `lowest_rate_hz`"
            )
        self.device = torch.device(device)
        torch.manual_seed(plan.seed)
        frozen = not source.table_sizes
        width = source.batch(self.clips[:1]).shape[-1] if frozen else 0
        model = ProbeModel(plan, len(self.alphabet.characters), repeats, width, source.table_sizes)
        if frozen:
            model.mean, model.spread = source.scale(self.clips)
        self.model = model.to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=plan.learning_rate)
        self.step = 0
        self.losses: list[tuple[int, float]] = []
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def _has_room(self, clip: SpokenClip, repeats: int) -> bool:
        indices = self.alphabet.indices(clip.text)
        doubled = sum(a == b for a, b in pairwise(indices))
        return repeats * clip.num_steps >= len(indices) + doubled

    def run(
        self,
        checkpoint: Checkpoint | None = None,
        show: Callable[[int, float], None] = lambda *_: None,
        until: int | None = None,
    ) -> None:
        """Train to the plan's last step, or to `until`, from what a checkpoint has."""
        if checkpoint is not None:
            self._resume(checkpoint)
        saved, total, counted = time.monotonic(), 0.0, 0
        told_every = max(1, self.plan.steps // 100)
        last = self.plan.steps if until is None else until
        while self.step < last:
            total, counted = total + self._learn(self._batch_of(self.step)), counted + 1
            self.step += 1
            if self.step % told_every == 0 or self.step == last:
                self.losses.append((self.step, total / counted))
                show(self.step, total / counted)
                total, counted = 0.0, 0
            if checkpoint and (self.step == last or time.monotonic() - saved > _SAVE_SECONDS):
                self._save(checkpoint)
                saved = time.monotonic()

    def _learn(self, clips: Sequence[SpokenClip]) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        targets = [torch.tensor(self.alphabet.indices(clip.text)) for clip in clips]
        self.model.train()
        chances, lengths = self._chances(clips)
        loss = F.ctc_loss(
            chances.transpose(0, 1),
            torch.cat(targets).to(self.device),
            lengths,
            torch.tensor([len(each) for each in targets]),
            blank=BLANK,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _LONGEST_GRADIENT)
        self.optimizer.step()
        return float(loss.detach())

    def _learning_rate(self) -> float:
        left = 1 - self.step / self.plan.steps
        return self.plan.learning_rate * min(1.0, left / _FALLING_SHARE)

    def _chances(self, clips: Sequence[SpokenClip]) -> tuple[Tensor, Tensor]:
        steps = self.source.batch(clips).to(self.device)
        chances, lengths = self.model(steps, torch.tensor([clip.num_steps for clip in clips]))
        return chances, lengths

    def _batch_of(self, step: int) -> list[SpokenClip]:
        epoch, place = divmod(step, self._batches_an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._batches(epoch)
        return [self.clips[each] for each in self._epoch[1][place]]

    def _batches(self, epoch: int) -> list[list[int]]:
        """The clips of each step of an epoch: every clip at most once, lengths alike in a batch."""
        random = np.random.default_rng([self.plan.seed, epoch])
        size, window = self.plan.batch_clips, self.plan.batch_clips * _BATCHES_SORTED
        order = random.permutation(len(self.clips)).tolist()
        placed = []
        for first in range(0, len(order), window):
            together = order[first : first + window]
            placed += sorted(together, key=lambda place: self.clips[place].num_steps)
        batches = [placed[first : first + size] for first in range(0, len(placed), size)]
        whole = [batch for batch in batches if len(batch) == size] or batches
        return [whole[place] for place in random.permutation(len(whole))]

    @property
    def _batches_an_epoch(self) -> int:
        return max(1, len(self.clips) // self.plan.batch_clips)

    @torch.inference_mode()
    def transcribe(self, clips: Sequence[SpokenClip]) -> Iterator[str]:
        """What the probe writes for each clip, by its best character at every step."""
        self.model.eval()
        for first in range(0, len(clips), self.plan.batch_clips):
            chances, lengths = self._chances(clips[first : first + self.plan.batch_clips])
            for best, length in zip(chances.argmax(-1).cpu(), lengths, strict=True):
                yield self.alphabet.text(best[: int(length)].tolist())

    def _of(self) -> str:
        """A hash of what the weights depend on; other clips, codes or plans: other trainings."""
        clips = [(clip.key, _hash_of(clip.steps), clip.text) for clip in self.clips]
        facts = (self.source.name, self.source.rate_hz, asdict(self.plan), clips)
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def _save(self, checkpoint: Checkpoint) -> None:
        state = {
            "of": self._of(),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }
        content = io.BytesIO()
        torch.save(state, content)
        checkpoint.storage.write_finished(checkpoint.url, content.getvalue())

    def _resume(self, checkpoint: Checkpoint) -> None:
        if not checkpoint.storage.exists(checkpoint.url):
            return
        content = io.BytesIO(checkpoint.storage.read_bytes(checkpoint.url))
        state: dict[str, Any] = torch.load(content, map_location=self.device, weights_only=True)
        if state["of"] != self._of():
            raise UsageError(
                f"`{checkpoint.url}` is of a probe with other clips, codes, texts, steps or sizes; "
                "expected the same, to go on with it. Use another `--output`, or delete it"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], [tuple(each) for each in state["losses"]]


def _hash_of(steps: NDArray[Any]) -> tuple[tuple[int, ...], int]:
    return steps.shape, xxhash.xxh3_64_intdigest(np.ascontiguousarray(steps).tobytes())
