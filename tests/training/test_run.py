"""`xytok train`: the same seed gives the same run, also when it was interrupted."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jobs.cli import run
from tests.support.places import SPEECH
from tests.support.shard_maker import pair, write_shard
from tests.support.training_case import load_tiny, save_language_model, tiny_recipe, vocos_head
from xy_codec import load_codec
from xy_codec.errors import ConfigError
from xy_codec.training.codec_start import start_codec
from xy_codec.training.evaluation import held_out_clips
from xy_codec.training.pretrain_stage import PretrainStage
from xy_codec.training.text_branch import LanguageModelBranch
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


def log_step(trainer: Trainer) -> None:
    losses = trainer.take_step()
    assert trainer.log is not None
    trainer.log.losses(trainer.step, losses)


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
        log_step(stopped)
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
    trained = start_codec(load_tiny(tmp_path, model__warm_start=best)).eval()
    with torch.no_grad():
        made = trained(wave[None], torch.tensor([len(wave)]))
    assert made.indices.tolist() == codes.tolist()
    np.testing.assert_allclose(made.waves[0], codec.decode([codes])[0], atol=1e-4)


@pytest.mark.parametrize("is_trained", [False, True])
def test_the_language_model_is_trained_where_the_recipe_says_so(tmp_path: Path, is_trained: bool):
    options: dict[str, Any] = {"text__kind": "llm", "text__trainable": is_trained}
    options["text__model"] = save_language_model(tmp_path / "llm")
    recipe = load_tiny(tmp_path, speech__crop_seconds=8, **options)
    trainer = Trainer(recipe, tmp_path / "run")
    assert isinstance(trainer.stage, PretrainStage)
    assert isinstance(trainer.stage.text, LanguageModelBranch)
    model = trainer.stage.text.model
    before = model.lm_head.weight.clone()
    trainer.take_step()
    assert torch.equal(model.lm_head.weight, before) != is_trained
    trainer.save()
    kept = torch.load(trainer.checkpoint, weights_only=True)["stage"]["text"]
    assert ("model.lm_head.weight" in kept) == is_trained
    resumed = Trainer(recipe, tmp_path / "run")
    assert resumed.take_step() == trainer.take_step()


@pytest.mark.parametrize("kind", ["ctc", "llm"])
def test_bfloat16_trains_with_a_text_branch(tmp_path: Path, kind: str):
    options: dict[str, Any] = {
        "precision": "bfloat16",
        "text__kind": kind,
        "speech__crop_seconds": 8,
    }
    if kind == "llm":
        options["text__model"] = save_language_model(tmp_path / "llm")
    trainer = Trainer(load_tiny(tmp_path, codebooks__start_step=0, **options), tmp_path / "run")
    assert isinstance(trainer.stage, PretrainStage)
    branch = trainer.stage.text
    assert branch is not None
    before = {name: each.clone() for name, each in branch.named_parameters() if each.requires_grad}
    assert trainer.take_step()["asr"] > 0
    after = dict(branch.named_parameters())
    assert not any(torch.equal(after[name], each) for name, each in before.items())


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_the_log_of_losses_has_each_step_once_in_columns_of_one_meaning(tmp_path: Path, stage: str):
    options = {"discriminators__start_step": 2, "log_every": 1, "save_every": 2}
    run = Trainer(load_tiny(tmp_path, stage, **options), tmp_path / "run")
    for _ in range(2):
        log_step(run)
    run.save()
    log_step(run)
    Trainer(load_tiny(tmp_path, stage, **options), tmp_path / "run").run()
    with (tmp_path / "run/losses.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    steps = [int(row[0]) for row in rows[1:]]
    assert steps == sorted(set(steps))


def test_a_run_tells_its_last_step_and_that_nothing_is_left_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = tiny_recipe(tmp_path, log_every=20)
    assert train(recipe, tmp_path / "run", "steps=2") == 0
    assert "step 2/2: " in capsys.readouterr().err
    assert train(recipe, tmp_path / "run", "steps=1") == 0
    told = capsys.readouterr().err
    assert "last.pt` has 2 of 1 steps: nothing is left to train" in told
    assert "The recipe has 1 steps, before it had 2: from here on the learning rate" in told


def test_a_run_that_is_done_is_not_scored_again(tmp_path: Path):
    held_out = str(SPEECH / "Emilia/IT/*.tar")
    for _ in range(2):
        Trainer(load_tiny(tmp_path, speech__held_out=held_out, steps=2), tmp_path / "run").run()
    rows = (tmp_path / "run/scores.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["2"]


def test_another_recipe_does_not_go_on_with_an_old_run(tmp_path: Path):
    Trainer(load_tiny(tmp_path), tmp_path / "run").save()
    told = r"`optimizer\.learning_rate` was 0\.\d+ there and is 0\.5 here\. "
    with pytest.raises(ConfigError, match=told):
        Trainer(load_tiny(tmp_path, optimizer__learning_rate=0.5), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(tmp_path: Path):
    trainer = Trainer(load_tiny(tmp_path), tmp_path / "run")
    with torch.no_grad():
        vocos_head(trainer.stage.codec.model).out.bias.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match=r"step 0 .*learning_rate"):
        trainer.run()


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_clips_taken_a_few_at_a_time_give_the_same_curve(tmp_path: Path, stage: str):
    options: dict[str, Any] = {
        "speech__batch_clips": 6,
        "codebooks__start_step": 0,
        "text__kind": "ctc",
    }
    curves = []
    for at_once in (0, 2):
        recipe = load_tiny(tmp_path, stage, speech__clips_at_once=at_once, **options)
        trainer = Trainer(recipe, tmp_path / f"run{at_once}")
        curves.append([trainer.take_step() for _ in range(4)])
    for whole, parts in zip(*curves, strict=True):
        assert parts == pytest.approx(whole, rel=1e-3)


ALL_OTHERS = {
    "semantic_encoder_adapter", "pre_rvq_adapter", "downsample", "quantizer", "post_rvq_adapter",
    "upsample", "acoustic_decoder", "vocos",
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "encoders"),
    [
        ({}, {"acoustic_encoder"}),
        ({"model__train_semantic": True}, {"semantic_encoder", "acoustic_encoder"}),
        ({"model__single_channel": True}, {"semantic_encoder"}),
    ],
)
def test_ablations_train_the_encoders_they_say(
    tmp_path: Path, options: dict[str, Any], encoders: set[str]
):
    trainer = Trainer(load_tiny(tmp_path, codebooks__start_step=0, **options), tmp_path / "run")
    model = trainer.stage.codec.model
    before = {name: each.clone() for name, each in model.state_dict().items()}
    for _ in range(3):
        trainer.take_step()
    after = model.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert moved == ALL_OTHERS | encoders
    acoustic = after["pre_rvq_adapter.proj.weight"][:, 16:]
    assert bool((acoustic == 0).all()) == ("model__single_channel" in options)


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_auto_takes_the_faster_precision_and_learns_nothing_from_trying(
    tmp_path: Path, stage: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    trainer = Trainer(load_tiny(tmp_path, stage, precision="auto"), tmp_path / "run")
    (line,) = (each for each in caplog.messages if each.startswith("Precision"))
    speeds = {name: float(speed) for name, speed in re.findall(r"(\w+) ([\d.]+)", line)}
    chosen = trainer.stage.precision
    assert f"`{chosen}`" in line
    assert speeds[chosen] == max(speeds.values())
    trainer.save()
    kept = Trainer(load_tiny(tmp_path, stage, precision="auto"), tmp_path / "run")
    assert kept.stage.precision == chosen
    plain = Trainer(load_tiny(tmp_path, stage, precision=chosen), tmp_path / "plain")
    curves = [[each.take_step() for _ in range(4)] for each in (trainer, plain)]
    assert curves[0] == curves[1]


def test_activations_computed_again_give_the_same_curve(tmp_path: Path):
    curves = []
    for again in (False, True):
        recipe = load_tiny(tmp_path, recompute_activations=again, text__kind="ctc")
        trainer = Trainer(recipe, tmp_path / f"run{again}")
        curves.append([trainer.take_step() for _ in range(3)])
    assert curves[0] == curves[1]


def test_what_is_measured_over_a_batch_is_refused_over_parts_of_it(tmp_path: Path):
    recipe = load_tiny(tmp_path, losses__spread=1.0, speech__clips_at_once=1)
    with pytest.raises(ConfigError, match=r"losses\.spread.*clips_at_once"):
        Trainer(recipe, tmp_path / "run")


def test_the_second_stage_leaves_encoder_and_quantiser_as_they_are(tmp_path: Path):
    trainer = Trainer(load_tiny(tmp_path, "posttrain"), tmp_path / "run")
    before = {name: each.clone() for name, each in trainer.stage.codec.model.state_dict().items()}
    for _ in range(2):
        trainer.take_step()
    after = trainer.stage.codec.model.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert moved == {"post_rvq_adapter", "upsample", "acoustic_decoder", "vocos"}


def test_averaged_weights_are_exported_with_averaged_codebooks(tmp_path: Path):
    options: dict[str, Any] = {"codebooks__start_step": 0, "optimizer__average_decay": 0.5}
    trainer = Trainer(load_tiny(tmp_path, steps=3, **options), tmp_path / "run")
    trainer.run()
    exported = load_file(tmp_path / "run/best/model.safetensors")
    for name in ("quantizer.quantizers.0.codebook", "acoustic_encoder.layer_norm.weight"):
        last = trainer.stage.codec.model.state_dict()[name]
        assert not torch.equal(exported[name].float(), last.half().float())
    book = trainer.stage.codec.model.quantizer.codebooks()[0]
    average = trainer.stage.average
    (number,) = (at for at, each in enumerate(average.tensors) if each is book.codebook)
    expected = average.values[number].half()
    assert torch.equal(exported["quantizer.quantizers.0.codebook"], expected)


def test_held_out_speakers_are_scored_and_heard_on_tensorboard(tmp_path: Path):
    held_out = str(SPEECH / "Emilia-YODAS/RU/*.tar")
    recipe = tiny_recipe(tmp_path, steps=3, speech__held_out=held_out)
    assert train(recipe, tmp_path / "run") == 0
    header, scores = (tmp_path / "run/scores.csv").read_text().splitlines()
    assert {"stoi", "pesq_nb", "pesq_wb", "usage_0"} <= set(header.split(","))
    assert float(scores.split(",")[header.split(",").index("pesq_nb")]) >= 1.0
    assert list((tmp_path / "run/tensorboard").iterdir())


@pytest.mark.parametrize("held_out", ["nothing/*.tar", "silent/*.tar"])
def test_held_out_shards_without_speech_are_refused_before_the_first_step(
    tmp_path: Path, held_out: str
):
    write_shard(tmp_path / "silent/silent.tar", [("note.txt", b"nobody speaks here")])
    recipe = tiny_recipe(tmp_path, speech__held_out=str(tmp_path / held_out))
    assert train(recipe, tmp_path / "run") == 2
    assert not (tmp_path / "run/losses.csv").exists()


def test_a_run_goes_on_with_less_memory_and_other_held_out_speech(tmp_path: Path):
    options: dict[str, Any] = {"codebooks__start_step": 0, "speech__batch_clips": 4}
    first = load_tiny(tmp_path, **options, speech__held_out=str(SPEECH / "Emilia-YODAS/RU/*.tar"))
    run = Trainer(first, tmp_path / "run")
    run.take_step()
    run.best = 9.0  # of that speech
    run.save()
    expected = run.take_step()
    options |= {"speech__clips_at_once": 2, "recompute_activations": True}
    other = load_tiny(tmp_path, **options, speech__held_out=str(SPEECH / "Emilia/IT/*.tar"))
    resumed = Trainer(other, tmp_path / "run")
    assert resumed.take_step() == pytest.approx(expected, rel=1e-3)
    resumed.evaluate()
    assert (tmp_path / "run/best/model.safetensors").exists()


def test_of_many_held_out_speakers_the_same_few_are_scored(tmp_path: Path):
    for number in range(2):
        clips = [
            pair(f"{number}-{clip}", 2.5, seed=6 * number + clip, speaker=f"{clip}")
            for clip in range(6)
        ]
        write_shard(tmp_path / f"{number}.tar", [member for clip in clips for member in clip])
    recipe = load_tiny(tmp_path, speech__held_out=str(tmp_path / "*.tar"))
    every = held_out_clips(recipe.speech, 16000, 1280)
    assert [clip.speaker for clip in every] == [f"{each // 2}" for each in range(12)]
    few = held_out_clips(recipe.speech, 16000, 1280, most_speakers=2)
    assert len(few) == 4
    assert len({clip.speaker for clip in few}) == 2
    assert {clip.wave.tobytes() for clip in few} <= {clip.wave.tobytes() for clip in every}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "The semantic encoder: random weights"),
        ({"model__train_semantic": True}, None),
        ({"stage": "posttrain"}, "Encoders and quantiser: random weights"),
    ],
)
def test_what_is_frozen_at_random_is_told(
    tmp_path: Path, options: dict[str, Any], told: str | None, caplog: pytest.LogCaptureFixture
):
    Trainer(load_tiny(tmp_path, **options), tmp_path / "run")
    found = [each for each in caplog.messages if "random weights" in each]
    assert len(found) == (1 if told else 0)
    assert all(each.startswith(str(told)) for each in found)


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_text_branch_that_meets_no_text_says_so(
    tmp_path: Path, is_cut: bool, caplog: pytest.LogCaptureFixture
):
    fields: dict[str, Any] = {} if is_cut else {"text": None, "transcript": "what is said"}
    write_shard(tmp_path / "speech.tar", pair("a", 1.0 if is_cut else 0.5, **fields))
    shards = str(tmp_path / "speech.tar")
    recipe = load_tiny(tmp_path, steps=21, text__kind="ctc", speech__shards=shards)
    Trainer(recipe, tmp_path / "run").run()
    (told,) = (each for each in caplog.messages if "has a text to learn from" in each)
    assert "no clip of the last 20 steps" in told
    assert "`speech.crop_seconds` (0.64)" in told


def test_hours_are_of_the_speech_without_the_padding(tmp_path: Path):
    write_shard(tmp_path / "speech.tar", pair("a", 0.5))
    shards, held_out = str(tmp_path / "speech.tar"), str(SPEECH / "Emilia/IT/*.tar")
    options: dict[str, Any] = {"speech__shards": shards, "speech__pitches": [1.0]}
    for steps in (2, 4):  # the second time, from the checkpoint of the first
        changed = options | {"steps": steps}
        Trainer(load_tiny(tmp_path, **changed, speech__held_out=held_out), tmp_path / "run").run()
    rows = list(csv.DictReader((tmp_path / "run/scores.csv").read_text().splitlines()))
    # MP3 adds up to a frame and a half of silence.
    hours = [float(row["audio_hours"]) for row in rows]
    assert hours == pytest.approx([each * 2 * 0.5 / 3600 for each in (2, 4)], rel=0.15)
