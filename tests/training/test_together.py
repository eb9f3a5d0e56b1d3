"""Several processes train as one does: the same batches, the same curve, also after one is lost."""

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from pipeline.training.options import TogetherOptions
from pipeline.training.run import train_here
from pipeline.training.together import check_room, train_together
from tests.support.ray_runs import ray_cluster_of
from tests.support.s3_server import S3Server
from tests.support.training_case import load_tiny
from xy_codec.errors import ConfigError
from xy_codec.training.recipe import Recipe
from xy_codec.training.trainer import Progress, Trainer, TrainingDivergedError

# Everything that several processes have to agree on: streams, text, spread, dead entries, k-means.
OPTIONS: dict[str, Any] = {
    "steps": 8,
    "save_every": 3,
    "speech__read": "stream",
    "speech__batch_clips": 6,
    "speech__crop_seconds": 4,
    "speech__shuffle_clips": 4,
    "text__kind": "ctc",
    "losses__spread": 0.1,
    "codebooks__dead_share": 0.5,
}


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_close(found: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    assert len(found) == len(expected) == OPTIONS["steps"]
    assert sum(float(row["replaced"]) for row in expected) > 0
    for mine, theirs in zip(found, expected, strict=True):
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=1e-4), (name, theirs)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the recipe."""
    folder = tmp_path_factory.mktemp("alone")
    Trainer(load_tiny(folder, **OPTIONS), folder / "run").run()
    return folder / "run"


def train_in_group(rank: int, world: int, folder: str, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    Trainer(recipe, Path(folder) / "run").run()
    dist.destroy_process_group()


def test_two_processes_have_the_curve_of_one(tmp_path: Path, alone: Path):
    spawn(train_in_group, (2, str(tmp_path), load_tiny(tmp_path, **OPTIONS)), nprocs=2)
    assert_close(curve(tmp_path / "run"), curve(alone))


def test_what_workers_cannot_do_is_refused_before_ray_starts(tmp_path: Path):
    with pytest.raises(ConfigError, match="4 processes"):
        train_together(load_tiny(tmp_path, **OPTIONS), "out", TogetherOptions(workers=4), print)
    elsewhere = TogetherOptions(workers=2, cluster="ray://other:10001")
    with pytest.raises(UsageError, match="`out`"):
        train_together(load_tiny(tmp_path, **OPTIONS), "out", elsewhere, print)
    assert not ray.is_initialized()


@pytest.mark.parametrize("name", ["speech__held_out", "model__warm_start", "model__whisper"])
def test_paths_that_other_machines_lack_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = load_tiny(tmp_path, **OPTIONS, **{name: "mine"})
    with pytest.raises(UsageError, match="`mine` is a relative path"):
        train_together(recipe, "s3://b/out", TogetherOptions(cluster="ray://other:10001"), print)
    assert not ray.is_initialized()


def test_more_workers_than_a_machine_has_room_for_are_refused(caplog: pytest.LogCaptureFixture):
    want, has = {"CPU": 1.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 2.0}
    check_room(2, want, has, grows=False)
    assert not caplog.messages
    with pytest.raises(UsageError, match="`--workers 4` wants 4 GPUs, and it has 2; expected"):
        check_room(4, want, has, grows=False)
    check_room(4, want, has, grows=True)
    assert "begins when the cluster has grown" in caplog.messages[0]


def stop_at_five(progress: Progress) -> None:
    if progress.step == 5:
        raise InterruptedError


def test_a_run_in_a_bucket_goes_on_on_another_machine(
    tmp_path: Path, alone: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    storage, recipe = Storage(), load_tiny(tmp_path, **OPTIONS)
    storage.filesystem("s3://training")[0].mkdir("training")
    with pytest.raises(InterruptedError):
        train_here(recipe, "s3://training/run", "cpu", stop_at_five)
    train_here(recipe, "s3://training/run", "cpu", lambda _: None)
    for name in ("losses.csv", "best/model.safetensors"):
        assert storage.read_bytes(f"s3://training/run/{name}") == (alone / name).read_bytes()
    options = OPTIONS | {"steps": 2, "text__kind": "none", "losses__spread": 0.0}
    options["model__warm_start"] = "s3://training/run/best"
    second = load_tiny(tmp_path, "posttrain", **options)
    train_here(second, "s3://training/second", "cpu", lambda _: None)
    assert storage.exists("s3://training/second/best/model.safetensors")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    with ray_cluster_of(3):
        yield


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Train sets old options itself
def test_another_recipe_is_no_loss_of_workers(tmp_path: Path, ray_cluster: None):
    Trainer(load_tiny(tmp_path, **OPTIONS), tmp_path / "run").save()
    other = load_tiny(tmp_path, **OPTIONS, optimizer__learning_rate=0.5)
    with pytest.raises(ConfigError, match="made with another recipe"):
        train_together(other, str(tmp_path / "run"), TogetherOptions(workers=2), print)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Train sets old options itself
def test_a_training_that_diverges_ends_as_one(tmp_path: Path, ray_cluster: None):
    # No step is clipped or warmed up, so the second one meets weights without measure.
    recipe = load_tiny(tmp_path, **OPTIONS, optimizer__learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match="no longer a number"):
        train_together(recipe, str(tmp_path / "run"), TogetherOptions(workers=2), print)


class KillOnce:
    """Shows progress by killing the worker that shows it, at one step and one time only."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step = step
        self.mark = mark

    def __call__(self, progress: Progress) -> None:
        if progress.step == self.step and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Train sets old options itself
def test_a_worker_that_is_lost_changes_nothing(tmp_path: Path, alone: Path, ray_cluster: None):
    recipe, three = load_tiny(tmp_path, **OPTIONS), TogetherOptions(workers=3)
    train_together(recipe, str(tmp_path / "straight"), three, print)
    killing = KillOnce(5, tmp_path / "killed")
    train_together(recipe, str(tmp_path / "lost"), three, killing)
    assert killing.mark.exists()
    straight, lost = tmp_path / "straight", tmp_path / "lost"
    assert curve(lost) == curve(straight)
    weights = "best/model.safetensors"
    assert (lost / weights).read_bytes() == (straight / weights).read_bytes()
    assert_close(curve(straight), curve(alone))
