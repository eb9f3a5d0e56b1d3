"""The probe's network: two bidirectional LSTM layers over steps, and characters by CTC."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pipeline.evaluate.probe.plan import ProbePlan

BLANK = 0


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters that the probe can write; index 0 is CTC's blank."""

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Alphabet":
        """All characters of some texts."""
        return cls("".join(sorted({each for text in texts for each in text})))

    def indices(self, text: str) -> list[int]:
        """A text as numbers; what the alphabet lacks is left out."""
        places = {each: place for place, each in enumerate(self.characters, start=1)}
        return [places[each] for each in text if each in places]

    def text(self, best: Sequence[int]) -> str:
        """The text of the best index of every step: repetitions are one character."""
        changed = [b for a, b in pairwise([BLANK, *best]) if a != b]
        written = "".join(self.characters[each - 1] for each in changed if each != BLANK)
        return " ".join(written.split())


class ProbeModel(nn.Module):
    """Steps to the log-probabilities of characters."""

    mean: Tensor
    spread: Tensor

    def __init__(
        self, plan: ProbePlan, num_characters: int, repeats: int, width: int, tables: Sequence[int]
    ) -> None:
        """`width` is that of frozen values, `tables` the entries of codebooks without such."""
        super().__init__()
        self.repeats = repeats
        self.tables = nn.ModuleList(nn.Embedding(size, plan.table_width) for size in tables)
        width = plan.table_width if tables else width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.lstm = nn.LSTM(width, plan.hidden, 2, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * plan.hidden, num_characters + 1)

    def forward(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities `[B, T', characters]` of `[B, T, D]` or `[B, T, K]`, and lengths."""
        values = self._values(steps).repeat_interleave(self.repeats, dim=1)
        lengths = lengths * self.repeats
        packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.output(hidden).log_softmax(-1), lengths

    def _values(self, steps: Tensor) -> Tensor:
        if not len(self.tables):
            return (steps - self.mean) / self.spread
        looked_up = [table(steps[..., book]) for book, table in enumerate(self.tables)]
        return torch.stack(looked_up).sum(0)
