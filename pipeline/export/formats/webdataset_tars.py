"""Plain WebDataset: tars of `<id>.npy` and `<id>.json`, written by the package's own writer."""

import json
from collections.abc import Iterable
from typing import Any, cast

from pipeline.export.contract import Format, Sample, ShardFiles, npy_bytes

_MODE = 0o644


class WebDatasetTars(Format):
    """What `webdataset.WebDataset(urls).decode()` reads."""

    name = "webdataset"
    options = ("layout",)
    has_ids = True
    takes_columns = True
    takes_reference = True

    def check(self) -> None:
        """`.npy` holds integers of any size."""

    @property
    def layout(self) -> str:
        """As in the parts of the run, unless `--layout TK`."""
        return "[T][K]" if self.target.options.layout == "TK" else "[K][T]"

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One tar. `ShardWriter` would only count samples, and a shard is counted already."""
        from webdataset import TarWriter

        file: Any = cast(Any, files.open(f"codes-{files.number:06d}.tar"))
        # The encoder of the package is left out: it would choose its own `.npy` and JSON forms.
        with TarWriter(file, user="", group="", mode=_MODE, mtime=0, encoder=False) as tar:
            for sample in samples:
                tar.write({"__key__": sample.id, **self._members(sample)})

    def _members(self, sample: Sample) -> dict[str, bytes]:
        turned = self.target.options.layout == "TK"
        about: dict[str, Any] = {
            "text": sample.text,
            "speaker": sample.speaker,
            "language": sample.language,
            "duration": sample.duration,
        }
        about |= sample.further(about)
        members = {
            "npy": npy_bytes(sample.codes.T if turned else sample.codes),
            "json": json.dumps(about, ensure_ascii=False).encode(),
        }
        if sample.reference:
            codes = sample.reference.codes
            members["ref.npy"] = npy_bytes(codes.T if turned else codes)
        return members
