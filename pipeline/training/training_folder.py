"""The folder of a training run: a local one, or a local copy of one in a bucket.

The trainer itself knows local paths only.
"""

import tempfile
from pathlib import Path

from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, join, local_path

_CHECKPOINT = "last.pt"


class TrainingFolder:
    """`path` is where the trainer reads and writes; `publish` puts what changed into the bucket."""

    def __init__(self, output: str, storage: Storage) -> None:
        self.output = output
        self.storage = storage
        self.is_remote = not is_local(output)
        self._copy = tempfile.TemporaryDirectory(prefix="xytok-train") if self.is_remote else None
        self.path = Path(self._copy.name if self._copy else local_path(output))
        self._published: dict[str, tuple[int, int]] = {}
        if self.is_remote:
            self._fetch()

    def publish(self) -> None:
        """Put every file that changed into the bucket, each whole, the checkpoint last."""
        if not self.is_remote:
            return
        files = [each for each in self.path.rglob("*") if each.is_file()]
        for file in sorted(files, key=lambda each: (each.name == _CHECKPOINT, each)):
            name, found = file.relative_to(self.path).as_posix(), file.stat()
            state = (found.st_mtime_ns, found.st_size)
            if self._published.get(name) != state:
                self.storage.write_finished(join(self.output, name), file)
                self._published[name] = state

    def close(self) -> None:
        """Remove the local copy."""
        if self._copy is not None:
            self._copy.cleanup()

    def _fetch(self) -> None:
        """Get what a run needs to go on: checkpoint, losses and scores."""
        for name in (_CHECKPOINT, "losses.csv", "scores.csv"):
            url = join(self.output, name)
            if self.storage.exists(url):
                (self.path / name).write_bytes(self.storage.read_bytes(url))
