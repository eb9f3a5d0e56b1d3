"""JSON lines with `audio_codes` `[T][K]`: what the trainers of the MOSS-TTS family load."""

import json
from collections.abc import Iterable
from typing import Any

from pipeline.export.contract import Codes, Format, Limits, Sample, ShardFiles
from pipeline.export.languages import language_name


class JsonLines(Format):
    """One object a clip; a reference becomes `ref_audio_codes`."""

    name = "jsonl"
    options = ("language",)
    needs_text = True
    takes_reference = True
    takes_columns = True
    # Lists of small ints in Python 3.11, measured with 8 codebooks.
    ram_bytes_per_code = 292 / 8
    layout = "[T][K], no offset, no delay"

    def check(self) -> None:
        """Lines hold integers of any size."""

    @property
    def limits(self) -> Limits:
        """Whole files are loaded, so there need not be many."""
        return Limits(samples=100_000)

    def sample_bytes(self, num_frames: int, text_bytes: int) -> int:
        """Digits and brackets instead of int16."""
        return num_frames * (5 * self.shape.num_codebooks + 4) + text_bytes + 64

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One file of lines."""
        file = files.open(f"codes-{files.number:05d}.jsonl")
        for sample in samples:
            file.write((json.dumps(self._object(sample), ensure_ascii=False) + "\n").encode())

    def _object(self, sample: Sample) -> dict[str, Any]:
        by_name = self.target.options.language != "code"
        language = language_name(sample.language) if sample.language and by_name else None
        whole: dict[str, Any] = {
            "text": sample.text,
            "language": language or sample.language,
            "audio_codes": _turned(sample.codes),
            "ref_audio_codes": _turned(sample.reference_codes),
        }
        whole |= sample.further(whole)
        return {name: value for name, value in whole.items() if value is not None}


def _turned(codes: Codes | None) -> list[list[int]] | None:
    return None if codes is None else codes.T.tolist()
