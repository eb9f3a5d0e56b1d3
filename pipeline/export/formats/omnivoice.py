"""OmniVoice: WebDataset tars of `.npy` codes, a JSON line a clip beside them, and `data.lst`.

Its trainer expects 8 codebooks of 1,024 and adds its mask token 1024 itself.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.export.contract import Format, Sample, Shard, ShardFiles, npy_bytes
from pipeline.export.tar_file import TarFile
from pipeline.storage.location import is_local, redact

logger = logging.getLogger(__name__)
_CODEBOOKS = (1024,) * 8


class OmniVoice(Format):
    """Files that `WebDatasetReader` of OmniVoice takes."""

    name = "omnivoice"
    options = ("json_in_tar",)
    has_ids = True
    needs_text = True
    takes_columns = True
    layout = "[K][T], no offset, no delay"

    def other_codec(self) -> str | None:
        """Its configuration has 8 codebooks of 1,024 by default."""
        if self.shape.codebook_sizes == _CODEBOOKS:
            return None
        return (
            f"OmniVoice's configuration has 8 codebooks of 1,024, these codes have "
            f"{self.shape.codebooks_in_words()}"
        )

    def check_destination(self, url: str) -> None:
        """`data.lst` is split at spaces, and its second path is opened as a local file."""
        if len(url.split()) != 1:
            raise UsageError(
                f"`{url}` holds a space; expected a path without one, because OmniVoice splits "
                "the lines of `data.lst` at spaces; use another destination"
            )
        if not is_local(url):
            logger.warning(
                "OmniVoice opens its JSON lines as local files: after a copy of `%s`, put the "
                "paths of the copy into `data.lst`",
                redact(url),
            )

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One tar and one JSON-lines file, in the same order."""
        tar_name, lines_name = _names(files.number)
        lines = files.open(lines_name)
        with TarFile(files.open(tar_name)) as tar:
            for sample in samples:
                line = json.dumps(self._label(sample), ensure_ascii=False)
                tar.add(f"{sample.id}.npy", npy_bytes(sample.codes))
                if self.target.options.json_in_tar:
                    tar.add(f"{sample.id}.json", line.encode())
                lines.write(f"{line}\n".encode())

    def _label(self, sample: Sample) -> dict[str, Any]:
        label: dict[str, Any] = {
            "id": sample.id,
            "text": sample.text,
            "audio_duration": sample.duration,
            "language_id": sample.language,
            "num_tokens": sample.codes.shape[1],
        }
        label |= sample.further(label)
        # Its reader takes a null for the word "None".
        return {name: value for name, value in label.items() if value is not None}

    def finish(self, folder: str, shards: Sequence[Shard]) -> Mapping[str, bytes]:
        """`data.lst`: tar, JSON lines, clips and seconds of each shard."""
        lines = [
            "{0}/{2} {0}/{3} {1.samples} {1.seconds:.3f}\n".format(
                folder, shard, *_names(shard.number)
            )
            for shard in shards
        ]
        return {"data.lst": "".join(lines).encode()}

    def finish_all(self, folders: Mapping[str, str]) -> Mapping[str, bytes]:
        """`data.json`, which names the lists of all splits to the trainer's command line."""
        lists = {
            split: [{"manifest_path": [f"{folder}/data.lst"], "repeat": 1}]
            for split, folder in folders.items()
        }
        return {"data.json": (json.dumps(lists, indent=1) + "\n").encode()}


def _names(number: int) -> tuple[str, str]:
    return f"audios/shard-{number:06d}.tar", f"txts/shard-{number:06d}.jsonl"
