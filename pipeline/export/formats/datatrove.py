"""datatrove's token files, which nanotron trains on: ids in `.ds`, ends of clips in `.ds.index`."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.export.contract import Limits, Sample, ShardFiles
from pipeline.export.templates import SequenceFormat


class Datatrove(SequenceFormat):
    """One document a clip; `.ds.loss` where the template has a prompt that is not trained on."""

    name = "datatrove"

    @property
    def id_type(self) -> np.dtype[Any]:
        """uint16 where every id fits, else uint32."""
        return np.dtype("<u2" if self.template.vocabulary <= 1 << 16 else "<u4")

    @property
    def limits(self) -> Limits:
        """Readers map files into memory."""
        return Limits(samples=1_000_000)

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """The tokens, their index and what says which of them are trained on."""
        name = f"codes_{files.number:05d}.ds"
        tokens, num_tokens, ends = files.open(name), 0, []
        has_prompts = self.template.name in ("vyvo", "llasa")
        loss = files.open(f"{name}.loss") if has_prompts else None
        for sample in samples:
            sequence = self.template.sequence(sample)
            tokens.write(sequence.ids.astype(self.id_type).tobytes())
            num_tokens += len(sequence.ids)
            ends.append(num_tokens)
            if loss:
                loss.write((np.arange(len(sequence.ids)) >= sequence.num_prompt).tobytes())
        files.open(f"{name}.index").write(np.array(ends, "<u8").tobytes())
        about = (
            f"{self.template.name}|{self.id_type.itemsize}\n{num_tokens}\n{_rounded(num_tokens)}"
        )
        files.open(f"{name}.metadata").write(about.encode())


def _rounded(count: int) -> str:
    """A count for people, as datatrove writes it: `1.2 M`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f}".removesuffix(".0") + ("", " K", " M", " B", " T")[unit]
