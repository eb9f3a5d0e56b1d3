"""Training by several workers: Ray Train places them, joins them and starts them anew.

Every worker runs the same trainer, which resumes from the checkpoint in the output. So a worker
that is lost costs the steps since then, and the steps that follow are those it would have taken.
"""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, WorkerError
from pipeline.fleet.ray.cluster import connect, disconnect, is_named
from pipeline.storage.location import check_means_the_same_elsewhere
from pipeline.training.options import TogetherOptions
from pipeline.training.run import Show, train_here
from pipeline.training.speech_shards import stored_shards
from xy_codec.errors import ConfigError
from xy_codec.training.recipe import Recipe
from xy_codec.training.speech_batches import check_shares
from xy_codec.training.trainer import TrainingDivergedError

logger = logging.getLogger(__name__)
# Errors that a new start of the workers meets again.
_FINAL = {each.__name__: each for each in (ConfigError, TrainingDivergedError)}


def train_together(recipe: Recipe, output: str, options: TogetherOptions, show: Show) -> None:
    """Train to the recipe's last step on the workers of a cluster.

    Raises:
        ConfigError: the workers cannot share a step evenly, or the output is of another recipe.
        UsageError: workers on other machines would not find a relative path.
        InputError: there are no shards; told before Ray is started.
        TrainingDivergedError: a loss is no number any more; starting again would not help.
        WorkerError: workers were lost more often than `options.restarts`.
    """
    check_shares(recipe.speech, options.workers)
    if is_named(options.cluster):
        for path in (output, *_local_paths(recipe)):
            check_means_the_same_elsewhere(path)
    for shards in (recipe.speech.shards, recipe.speech.held_out):
        if shards:
            stored_shards(shards)
    is_ours = connect(options.cluster)
    try:
        grows = not is_ours or is_named(options.cluster)
        _fit(recipe, output, options, show, grows=grows)
    finally:
        if is_ours:
            disconnect()


def _local_paths(recipe: Recipe) -> list[str]:
    """The shards, and what of the model is a path here: other names are found by every worker."""
    model = recipe.model
    named = (model.codec, model.whisper, model.warm_start, recipe.text.model)
    held_out = [recipe.speech.held_out] if recipe.speech.held_out else []
    return [
        recipe.speech.shards,
        *held_out,
        *(each for each in named if each and Path(each).exists()),
    ]


def check_room(workers: int, each: dict[str, float], has: dict[str, float], *, grows: bool) -> None:
    """Say what a cluster lacks: it may come to a cluster, and never to a machine."""
    lacking = [
        f"{workers * wanted:g} {name}s, and it has {has.get(name, 0):g}"
        for name, wanted in each.items()
        if workers * wanted > has.get(name, 0)
    ]
    if lacking and not grows:
        raise UsageError(
            f"`--workers {workers}` wants {'; '.join(lacking)}; expected what this machine has. "
            "Lower `--workers` or `--cpus-per-worker`, or name a `--cluster`"
        )
    if lacking:
        logger.warning(
            "`--workers %d` wants %s now: the training begins when the cluster has grown",
            *(workers, "; ".join(lacking)),
        )


def _fit(recipe: Recipe, output: str, options: TogetherOptions, show: Show, *, grows: bool) -> None:
    import ray
    from ray.exceptions import RayError
    from ray.train import FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    if not hasattr(Result, "return_value"):
        raise UsageError(
            f"Ray {ray.__version__} does not give back what workers return, so a training that "
            "diverged would end as if it were done; expected 2.60, which is tested. Upgrade Ray, "
            "or train without `--workers`"
        )

    has = ray.cluster_resources()
    has_gpus = bool(has.get("GPU"))
    each = {"CPU": options.cpus_per_worker} | ({"GPU": 1} if has_gpus else {})
    check_room(options.workers, each, has, grows=grows)
    scaling = ScalingConfig(
        num_workers=options.workers, use_gpu=has_gpus, resources_per_worker=each
    )
    with tempfile.TemporaryDirectory(prefix="xytok-ray-train") as folder:
        # Checkpoints are in the output; Ray's folder holds its own notes only.
        run = RunConfig(
            name="train",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=options.restarts),
        )
        settings = {"recipe": recipe, "output": output, "show": show, "folder": str(Path.cwd())}
        trainer = TorchTrainer(
            _work, train_loop_config=settings, scaling_config=scaling, run_config=run
        )
        try:
            result = trainer.fit()
        except RayError as error:
            raise WorkerError(
                f"The process that watches the workers was lost: {_first_line(error)}. Expected it "
                "to stay; run the command again, which goes on from the checkpoint."
            ) from error
        except TrainingFailedError as error:
            raise WorkerError(
                f"Workers were lost more than {options.restarts} times, the last time by: "
                f"{_last_line(error)}. Expected them to stay; see Ray's logs, then run the command "
                "again, which goes on from the checkpoint."
            ) from error
    if result.return_value:
        name, text = result.return_value
        raise _FINAL[name](text)


def _work(settings: dict[str, Any]) -> tuple[str, str] | None:
    """What one worker does; Ray Train has joined it to the others before.

    Returns the class and text of an error that would come again; raised, it would be tried again.
    """
    from ray.train.torch import get_device

    # Relative paths of recipe and output are those of the command, on its machine.
    if Path(settings["folder"]).is_dir():
        os.chdir(settings["folder"])
    try:
        train_here(settings["recipe"], settings["output"], str(get_device()), settings["show"])
    except tuple(_FINAL.values()) as error:
        return type(error).__name__, str(error)  # all workers come here: they see the same
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
