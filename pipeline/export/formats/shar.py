"""lhotse Shar: cuts as JSON lines and their codes in tars, for icefall and, with `--nemo`, NeMo.

lhotse's `cut.load_codes()` cuts along the first axis whatever the layout is, so frames come first
unless `--layout KT` or `--nemo` ask for the other order.
"""

import gzip
import json
from collections.abc import Iterable
from typing import Any

from pipeline.export.contract import Codes, Format, Sample, ShardFiles, npy_bytes
from pipeline.export.tar_file import TarFile

_GZIP_LEVEL = 6


class Shar(Format):
    """A cut a clip, without audio."""

    name = "shar"
    options = ("layout", "nemo", "dataset_name")
    has_ids = True
    takes_columns = True
    takes_reference = True

    def check(self) -> None:
        """Tars of `.npy` hold integers of any size."""
        if self.target.options.nemo and self.target.options.layout == "TK":
            raise self.cannot_hold("layout `TK`", "`--layout KT`, which NeMo reads")

    @property
    def layout(self) -> str:
        """Frames first, because lhotse slices the first axis."""
        return (
            "[T][K], no offset, no delay" if self._frames_first else "[K][T], no offset, no delay"
        )

    @property
    def _frames_first(self) -> bool:
        options = self.target.options
        return (options.layout or ("KT" if options.nemo else "TK")) == "TK"

    @property
    def _codes_field(self) -> str:
        return "target_codes" if self.target.options.nemo else "codes"

    @property
    def _reference_field(self) -> str:
        return "context_codes" if self.target.options.nemo else "ref_codes"

    def _path(self, field: str, number: int) -> str:
        if not self.target.options.nemo:
            return f"{field}.{number:06d}.tar"
        return f"{self.target.codec['name']}/{field}/codes.{number:06d}.tar"

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """Cuts, codes and, with references, their codes: three files in the same order."""
        folder = "cuts/" if self.target.options.nemo else ""
        cuts = files.open(f"{folder}cuts.{files.number:06d}.jsonl.gz")
        codes = TarFile(files.open(self._path(self._codes_field, files.number)))
        with_references = self.target.with_reference
        references = (
            TarFile(files.open(self._path(self._reference_field, files.number)))
            if with_references
            else None
        )
        # No name and no time in the header, so that equal cuts give equal bytes.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, cuts, mtime=0) as lines, codes:
            for sample in samples:
                lines.write((json.dumps(self._cut(sample), ensure_ascii=False) + "\n").encode())
                self._add(codes, sample.id, sample.codes)
                if references:
                    self._add(references, sample.id, sample.reference_codes)
        if references:
            with references:
                pass

    def _add(self, tar: TarFile, name: str, codes: Codes | None) -> None:
        if codes is None:
            tar.add(f"{name}.nodata", b"")
            tar.add(f"{name}.nometa", b"")
            return
        tar.add(f"{name}.npy", npy_bytes(codes.T if self._frames_first else codes))
        tar.add(f"{name}.json", (json.dumps(self._array(codes)) + "\n").encode())

    def _array(self, codes: Codes) -> dict[str, Any]:
        shape = list(codes.T.shape if self._frames_first else codes.shape)
        return {
            "array": {
                "storage_type": "shar",
                "storage_path": "",
                "storage_key": "",
                "shape": shape,
            },
            "temporal_dim": 0 if self._frames_first else -1,
            "frame_shift": self.target.frame_seconds,
            "start": 0,
        }

    def _cut(self, sample: Sample) -> dict[str, Any]:
        num_samples = sample.codes.shape[1] * self.shape.samples_per_frame
        duration = round(num_samples / self.shape.input_rate_hz, 8)
        place = {"id": sample.id, "start": 0, "duration": duration, "channel": 0}
        supervision = {
            "id": sample.id,
            "recording_id": sample.id,
            "start": 0,
            "duration": duration,
            "channel": 0,
            "text": sample.text,
            "language": sample.language,
            "speaker": self._speaker(sample),
            "custom": dict(sample.columns) or None,
        }
        supervision = {name: value for name, value in supervision.items() if value is not None}
        cut: dict[str, Any] = {**place, "supervisions": [supervision]}
        if self._frames_first:
            # `cut.truncate()` asks for the sampling rate of a recording.
            cut["recording"] = {
                "id": sample.id,
                "sources": [],
                "sampling_rate": self.shape.input_rate_hz,
                "num_samples": num_samples,
                "duration": duration,
                "channel_ids": [0],
            }
        custom = {self._codes_field: self._array(sample.codes)}
        if sample.reference:
            custom[self._reference_field] = self._array(sample.reference.codes)
        return cut | {"custom": custom, "type": "MonoCut"}

    def _speaker(self, sample: Sample) -> str | None:
        if not self.target.options.nemo:
            return sample.speaker
        name = self.target.options.dataset_name or "speech"
        speaker = sample.speaker or sample.id
        return f"| Language:{sample.language or 'unknown'} Dataset:{name} Speaker:{speaker} |"
