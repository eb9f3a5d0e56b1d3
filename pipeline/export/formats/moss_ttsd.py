"""MOSS-TTSD v0 to v0.7 fine-tuning: a stream of pickles and the offsets of its records.

A clip is a matrix `[L, 8]`: prompt, frames and an end row. The trainer applies the delay.
"""

import io
import pickle
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.export.contract import Format, Limits, Sample, ShardFiles
from pipeline.export.text_tokens import TextTokens
from xy_codec.xy.released import VARIANTS

_RELEASED = {name for name, _ in VARIANTS.values()}
_CODEBOOKS = (1024,) * 8
_SPEECH_BASE = 151665  # the id of code 0 of the first codebook
_END_OF_SPEECH = 152694
_FILLER = 1024
_NO_LOSS = -100
_SYSTEM = (
    "You are a speech synthesizer that generates natural, realistic, and human-like "
    "conversational audio from dialogue text."
)
_BEFORE_TEXT = f"<|begin_of_style|>{_SYSTEM}<|end_of_style|>\n<|begin_of_text|>"
_AFTER_TEXT = "<|end_of_text|>\n<|begin_of_speech|>"
_AFTER_SPEECH = "<|end_of_speech|>"
# One protocol for all versions of Python, which differ in their default.
_PICKLE_PROTOCOL = 4


class MossTtsd(Format):
    """`NAME.pkl` and `NAME_metas.npy`; the trainer takes every `.pkl` of a directory."""

    name = "moss-ttsd"
    options = ("tokenizer",)
    needs_text = True
    takes_reference = True
    # Two nested lists of Python ints, measured in Python 3.11 with 8 codebooks.
    ram_bytes_per_code = 650 / 8
    layout = "[L][8]: prompt, frames, end; no delay"

    def check(self) -> None:
        """The model has 8 codebooks of 1,024 and a tokenizer of its own."""
        if self.shape.codebook_sizes != _CODEBOOKS:
            raise self.cannot_hold(self.shape.codebooks_in_words(), "8 codebooks of 1,024")
        tokens = self._tokens
        if tokens.ids("") or tokens.ids(_AFTER_SPEECH) != [_END_OF_SPEECH]:
            raise UsageError(
                f"`--tokenizer {self.target.options.tokenizer}` gives {tokens.ids(_AFTER_SPEECH)} "
                f"for `{_AFTER_SPEECH}`; expected [{_END_OF_SPEECH}], and nothing for empty text; "
                "pass the `tokenizer.json` of MOSS-TTSD"
            )

    @cached_property
    def _tokens(self) -> TextTokens:
        return TextTokens(self.target, self.name)

    def other_codec(self) -> str | None:
        """The model was trained on the codes of the TTSD checkpoint; others are other sounds."""
        name, source = str(self.target.codec["name"]), self.target.codec_source
        # The name tells a release; where it is none, only the user's own word is left.
        made_by = name if name in _RELEASED else f"{name} {source}"
        if "ttsd" in made_by.lower():
            return None
        return (
            "MOSS-TTSD was trained on codes of the checkpoint "
            f"`OpenMOSS-Team/MOSS_TTSD_tokenizer`, these were made by `{name}`"
            + (f" of `{source}`" if source else "")
        )

    @property
    def limits(self) -> Limits:
        """Whole files are loaded, so there need not be many."""
        return Limits(samples=100_000)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Only the first codebook shares its column with text."""
        return (_SPEECH_BASE, *(0,) * 7)

    def sample_bytes(self, num_frames: int, text_bytes: int) -> int:
        """As measured: 56 bytes a frame."""
        return num_frames * 56 + (text_bytes + 64) * 40

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One stream of pickles, and where each begins, its rows and its frames."""
        file = files.open(f"codes-{files.number:05d}.pkl")
        metas = []
        for sample in samples:
            inputs, labels = self.matrices(sample)
            record = io.BytesIO()
            whole = {"input_ids": inputs.tolist(), "labels": labels.tolist()}
            pickle.dump(whole, record, protocol=_PICKLE_PROTOCOL)
            metas.append((file.tell(), len(inputs), _frames(sample)))
            file.write(record.getvalue())
        # Saved as it lies in memory, column by column, as upstream saves it.
        table = np.array(metas, "<i8").reshape(-1, 3).T
        np.save(files.open(f"codes-{files.number:05d}_metas.npy"), table, allow_pickle=False)

    def matrices(self, sample: Sample) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and labels `[L, 8]` of a clip; a reference stands before it in text and codes."""
        text, codes = sample.text or "", sample.codes
        if sample.reference:
            text = (sample.reference.text or "") + text
            codes = np.concatenate([sample.reference.codes, codes], axis=1)
        words = self._tokens.ids(_BEFORE_TEXT), self._tokens.ids(_dialogue(text))
        prompt = _text_rows([*words[0], *words[1], *self._tokens.ids(_AFTER_TEXT)])
        speech = codes.T.astype(np.int64)
        speech[:, 0] += _SPEECH_BASE
        end = _text_rows(self._tokens.ids(_AFTER_SPEECH))
        end_label = np.full_like(end, _NO_LOSS)
        end_label[:, 0] = end[:, 0]
        inputs = np.concatenate([prompt, speech, end])
        return inputs, np.concatenate([np.full_like(prompt, _NO_LOSS), speech, end_label])


def _frames(sample: Sample) -> int:
    both = (sample.codes, sample.reference_codes)
    return sum(codes.shape[1] for codes in both if codes is not None)


def _text_rows(ids: list[int]) -> NDArray[Any]:
    rows = np.full((len(ids), len(_CODEBOOKS)), _FILLER, np.int64)
    rows[:, 0] = ids
    return rows


def _dialogue(text: str) -> str:
    """Speakers by the tokens that the model knows; a clip without marks has one speaker."""
    marked = text.replace("[S1]", "<speaker1>").replace("[S2]", "<speaker2>")
    return marked if marked.startswith("<speaker") else f"<speaker1>{marked}"
