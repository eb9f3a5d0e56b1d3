"""One training run in this process: alone, or as a worker among others."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, join
from pipeline.training.speech_shards import stored_shards
from pipeline.training.training_folder import TrainingFolder
from xy_codec.training.evaluation import Scorer, Wave
from xy_codec.training.recipe import Recipe
from xy_codec.training.trainer import Progress, Trainer

Show = Callable[[Progress], None]


def train_here(recipe: Recipe, output: str, device: str, show: Show) -> None:
    """Train to the recipe's last step; `output` is a folder or a URL of any storage."""
    storage = Storage()
    with ExitStack() as stack:
        folder = TrainingFolder(output, storage)
        stack.callback(folder.close)
        copies = stack.enter_context(tempfile.TemporaryDirectory(prefix="xytok-warm-start"))
        Trainer(
            recipe,
            folder.path,
            device=device,
            scorers=_scorers() if recipe.speech.held_out else [],
            show=show,
            list_shards=stored_shards,
            saved=folder.publish,
            fetch=lambda source: _local_codec(source, storage, Path(copies)),
        ).run()


def _local_codec(source: str, storage: Storage, folder: Path) -> str:
    """A codec that an earlier run left in a bucket, copied to `folder`; others as they are."""
    if "://" not in source or is_local(source):
        return source
    for name in ("config.yaml", "model.safetensors"):
        (folder / name).write_bytes(storage.read_bytes(join(source, name)))
    return str(folder)


def _scorers() -> list[Scorer]:
    from pipeline.audit.metrics.scores import score_pair

    def score(original: Wave, made: Wave, rate_hz: int) -> Mapping[str, float]:
        groups = ("stoi", "pesq")
        figures = asdict(score_pair(original, made, rate_hz, groups=groups).scores)
        return {name: value for name, value in figures.items() if value is not None}

    return [score]
