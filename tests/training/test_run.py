"""`xytok train`: the same seed gives the same run, also when it was interrupted."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from jobs.cli import run
from tests.support.places import SPEECH
from tests.support.training_case import load_tiny, tiny_language_model, tiny_recipe
from xy_codec import load_codec
from xy_codec.errors import CheckpointError
from xy_codec.training.codec_start import start_codec
from xy_codec.training.recipe import load_recipe
from xy_codec.training.speech_stream import Place
from xy_codec.training.trainer import Trainer, TrainingDivergedError


def losses(folder: Path) -> str:
    return (folder / "losses.csv").read_text()


def weights(folder: Path) -> bytes:
    return (folder / "best" / "model.safetensors").read_bytes()


def train(recipe: Path, out: Path, *settings: str) -> int:
    changes = [word for each in settings for word in ("--set", each)]
    return run(
        ["train", "--recipe", str(recipe), "--output", str(out), "--device", "cpu", *changes]
    )


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_a_seed_gives_the_same_losses_bit_for_bit(tmp_path: Path, stage: str):
    recipe = tiny_recipe(tmp_path, stage, codebooks__start_step=0)
    if stage == "posttrain":
        first = tiny_recipe(tmp_path / "first", codebooks__start_step=0)
        assert train(first, tmp_path / "start") == 0
        recipe = tiny_recipe(tmp_path, stage, model__warm_start=str(tmp_path / "start/best"))
    for name in ("a", "b"):
        assert train(recipe, tmp_path / name) == 0
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert train(recipe, tmp_path / "c", "seed=5") == 0
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_a_run_without_codebooks_names_no_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert train(tiny_recipe(tmp_path), tmp_path / "run", "steps=1") == 0
    out, err = capsys.readouterr()
    assert "best" not in out
    assert "no codec yet" in err


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path):
    recipe = tiny_recipe(tmp_path)
    straight = Trainer(load_tiny(tmp_path), tmp_path / "straight")
    straight.run()
    stopped = Trainer(load_tiny(tmp_path), tmp_path / "resumed")
    for _ in range(3):
        values = stopped._one_step()
        stopped.log.losses(stopped.step, values)
    stopped.save()
    assert train(recipe, tmp_path / "resumed") == 0
    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")
    assert weights(tmp_path / "resumed") == weights(tmp_path / "straight")


def test_training_lowers_the_loss_and_the_result_is_a_codec(tmp_path: Path):
    trainer = Trainer(load_tiny(tmp_path, steps=40, codebooks__start_step=10), tmp_path / "run")
    trainer.run()
    rows = [line.split(",") for line in losses(tmp_path / "run").splitlines()]
    recon = [float(row[rows[0].index("recon")]) for row in rows[1:]]
    assert sum(recon[-5:]) < 0.8 * sum(recon[:5])
    best = str(tmp_path / "run/best")
    codec = load_codec(best)
    wave = 0.1 * torch.randn(12 * 1280, generator=torch.Generator().manual_seed(0))
    codes = codec.encode([wave.numpy()])[0]
    assert codes.shape == (4, 12)
    # Training and inference are two implementations of one codec.
    trained = start_codec(load_tiny(tmp_path, model__warm_start=best), expected_vectors=16).eval()
    with torch.no_grad():
        made = trained(wave[None], torch.tensor([len(wave)]))
    assert made.indices.tolist() == codes.tolist()
    np.testing.assert_allclose(made.waves[0], codec.decode([codes])[0], atol=1e-4)


@pytest.mark.parametrize("kind", ["ctc", "llm"])
def test_bfloat16_trains_with_a_text_branch(tmp_path: Path, kind: str):
    options = {"precision": "bfloat16", "text__kind": kind, "speech__crop_seconds": 8}
    if kind == "llm":
        options["text__model"] = tiny_language_model(tmp_path / "llm")
    trainer = Trainer(load_tiny(tmp_path, codebooks__start_step=0, **options), tmp_path / "run")
    branch = trainer.stage.text
    before = {name: each.clone() for name, each in branch.named_parameters() if each.requires_grad}
    assert trainer._one_step()["asr"] > 0
    after = dict(branch.named_parameters())
    assert not any(torch.equal(after[name], each) for name, each in before.items())


def train_in_group(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    recipe = load_recipe(f"{folder}/recipe.yaml")
    trainer = Trainer(recipe, Path(folder) / f"run{rank}", place=Place(rank, world))
    trainer.run()
    torch.save(trainer.stage.codec.state_dict(), f"{folder}/weights{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_that_train_together_hold_the_same_weights(tmp_path: Path):
    tiny_recipe(tmp_path, text__kind="ctc")
    spawn(train_in_group, args=(2, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"weights{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not (tmp_path / "run1/last.pt").exists()


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_the_log_of_losses_has_each_step_once_in_columns_of_one_meaning(tmp_path: Path, stage: str):
    options = {"discriminators__start_step": 2, "log_every": 1, "save_every": 2}
    run = Trainer(load_tiny(tmp_path, stage, **options), tmp_path / "run")
    for _ in range(2):
        run.log.losses(run.step, run._one_step())
    run.save()
    run.log.losses(run.step, run._one_step())
    Trainer(load_tiny(tmp_path, stage, **options), tmp_path / "run").run()
    with (tmp_path / "run/losses.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    steps = [int(row[0]) for row in rows[1:]]
    assert steps == sorted(set(steps))


def test_another_recipe_does_not_go_on_with_an_old_run(tmp_path: Path):
    Trainer(load_tiny(tmp_path), tmp_path / "run").save()
    with pytest.raises(CheckpointError, match="optimizer"):
        Trainer(load_tiny(tmp_path, optimizer__learning_rate=0.5), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(tmp_path: Path):
    trainer = Trainer(load_tiny(tmp_path), tmp_path / "run")
    with torch.no_grad():
        bias = trainer.stage.codec.model.vocos.head.out.bias
        assert bias is not None
        bias.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match=r"step 0 .*learning_rate"):
        trainer.run()


def test_accumulated_batches_count_as_one_step(tmp_path: Path):
    trainer = Trainer(load_tiny(tmp_path, accumulate=3), tmp_path / "run")
    assert trainer.audio_seconds_per_step == pytest.approx(3 * 2 * 0.64)
    assert trainer._one_step()["recon"] > 0


def test_held_out_speakers_are_scored_and_heard_on_tensorboard(tmp_path: Path):
    held_out = str(SPEECH / "Emilia-YODAS/RU/*.tar")
    recipe = tiny_recipe(tmp_path, steps=3, speech__held_out=held_out)
    assert train(recipe, tmp_path / "run") == 0
    header, scores = (tmp_path / "run/scores.csv").read_text().splitlines()
    assert {"stoi", "pesq_nb", "pesq_wb", "usage_0"} <= set(header.split(","))
    assert float(scores.split(",")[header.split(",").index("pesq_nb")]) >= 1.0
    assert list((tmp_path / "run/tensorboard").iterdir())
