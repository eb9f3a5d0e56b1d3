"""A clip as one sequence of ids: codes one frame after the other, with or without text before them.

`ids[t * K + k] = base + offset of codebook k + codes[k][t]`; each codebook has ids of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.export.contract import Format, Sample, Target
from pipeline.export.text_tokens import TextTokens

Ids = NDArray[np.int64]
# What LLaSA's trainer adds to Llama's tokenizer before the codes, in this order.
_LLASA_TOKENS = tuple(
    f"<|{medium}_{task}_{edge}|>"
    for medium in ("TEXT", "SPEECH")
    for task in ("GENERATION", "UNDERSTANDING")
    for edge in ("START", "END")
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """The ids of a clip; the first `num_prompt` of them are not trained on."""

    ids: Ids
    num_prompt: int


class Template:
    """The template of `--template`; `codes` has no text."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.name = target.options.template or "codes"

    @property
    def has_text(self) -> bool:
        """Whether text stands before the codes."""
        return self.name != "codes"

    @cached_property
    def tokens(self) -> TextTokens:
        """The tokenizer, with what the template's trainer adds to it."""
        tokens = TextTokens(self._target, f"--template {self.name}")
        if self.name == "llasa":
            tokens.add(_LLASA_TOKENS)
        return tokens

    @cached_property
    def base(self) -> int:
        """The id of code 0 of the first codebook."""
        if self._target.options.base is not None:
            return self._target.options.base
        fixed = {"codes": 0, "orpheus": 128266, "vyvo": 151679}
        return fixed[self.name] if self.name in fixed else self._llasa_base()

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """What is added to the codes of each codebook."""
        sizes = np.array(self._target.shape.codebook_sizes)
        return tuple(int(start) for start in self.base + np.cumsum(sizes) - sizes)

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest id."""
        return self.base + sum(self._target.shape.codebook_sizes)

    def sequence(self, sample: Sample) -> Sequence:
        """The ids of a clip."""
        codes = self.flat(sample)
        return self._MAKERS[self.name](self, sample, codes)

    def flat(self, sample: Sample) -> Ids:
        """The codes of a clip as ids, frame by frame."""
        ids: Ids = sample.codes.T.astype(np.int64) + np.array(self.offsets)
        return ids.reshape(-1)

    def _codes(self, _: Sample, codes: Ids) -> Sequence:
        return Sequence(codes, 0)

    def _orpheus(self, sample: Sample, codes: Ids) -> Sequence:
        words = self.tokens.ids(_with_speaker(sample), add_special_tokens=True)
        prompt = [128259, *words, 128009, 128260, 128261, 128257]
        # Its trainer learns the prompt as well.
        return Sequence(np.concatenate([prompt, codes, [128258, 128262]]), 0)

    def _vyvo(self, sample: Sample, codes: Ids) -> Sequence:
        words = self.tokens.ids(_with_speaker(sample), add_special_tokens=True)
        prompt = [151672, *words, 151645, 151673]
        answer = [[151674, 151670], codes, [151671, 151675]]
        return Sequence(np.concatenate([prompt, *answer]), len(prompt))

    def _llasa(self, sample: Sample, codes: Ids) -> Sequence:
        marked = f"<|TEXT_UNDERSTANDING_START|>{sample.text}<|TEXT_UNDERSTANDING_END|>"
        prompt = self.tokens.ids(marked)
        start, end = (self.tokens.id_of(f"<|SPEECH_GENERATION_{e}|>") for e in ("START", "END"))
        return Sequence(np.concatenate([prompt, [start], codes, [end]]), len(prompt))

    _MAKERS: Mapping[str, Callable[["Template", Sample, Ids], Sequence]] = {
        "codes": _codes,
        "orpheus": _orpheus,
        "vyvo": _vyvo,
        "llasa": _llasa,
    }

    def _llasa_base(self) -> int:
        found = self.tokens.find("<|s_0|>")
        return len(self.tokens) if found is None else found


def _with_speaker(sample: Sample) -> str:
    return f"{sample.speaker}: {sample.text}" if sample.speaker else f"{sample.text}"


class SequenceFormat(Format):
    """What the formats of flat ids have in common: `flat`, `megatron` and `datatrove`."""

    options = ("template", "base", "tokenizer")

    @cached_property
    def template(self) -> Template:
        """How text and codes become a sequence."""
        return Template(self.target)

    @property
    def id_type(self) -> np.dtype[Any]:
        """How ids are stored."""
        return np.dtype("<i4")

    def check(self) -> None:
        """Codebooks of any size fit, as long as the ids do."""
        self.needs_text = self.template.has_text
        if self.template.vocabulary >= 1 << 31:
            raise self.cannot_hold(
                f"{self.template.vocabulary:,} ids with `--base {self.template.base}`",
                "fewer than 2,147,483,648",
            )

    @property
    def layout(self) -> str:
        """One frame after the other."""
        name, ids = self.template.name, self.template.vocabulary
        return f"flat [T * K], template {name}, ids below {ids}, {self.id_type.name}"

    @property
    def offsets(self) -> tuple[int, ...]:
        """Each codebook has ids of its own."""
        return self.template.offsets
