"""`xytok train`: one stage of a training recipe, resumed by running the same command again."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Device, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xy_codec.training.evaluation import Scorer, Wave
    from xy_codec.training.shard_audio import SpeechShard
    from xy_codec.training.trainer import Progress

# What the paper reports for one H100, to compare our speed with.
_PAPER = {"pretrain": 136.7, "posttrain": 46.6}


def train(
    *,
    recipe: Annotated[
        str,
        Parameter(
            help="a YAML file, or nano_pretrain, nano_posttrain, full_pretrain or full_posttrain."
        ),
    ],
    output: Annotated[Path, Output, Parameter(help="the folder of this training.")],
    device: Device = "auto",
    set: Annotated[
        tuple[str, ...],
        Parameter(
            help="NAME=VALUE changes one value of the recipe, e.g. "
            "speech.shards=s3://bucket/*.tar (repeatable)."
        ),
    ] = (),
    log: Log = LogOptions(),
) -> int:
    """Train to the recipe's last step."""
    import torch

    from xy_codec.training.recipe import load_recipe
    from xy_codec.training.trainer import Trainer

    stage = load_recipe(recipe, dict(_setting(each) for each in set))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    print(
        f"Paper, one H100: {_PAPER[stage.stage]} s of audio per second ({stage.stage}).",
        file=sys.stderr,
    )
    scorers = _scorers() if stage.speech.held_out else []
    Trainer(
        stage,
        output,
        device=device,
        scorers=scorers,
        show=_show,
        list_shards=stored_shards,
    ).run()
    if not (output / "best").is_dir():
        print(f"{output}: no codec yet, its codebooks start at a later step", file=sys.stderr)
        return 0
    print(output / "best")
    return 0


def stored_shards(pattern: str) -> "list[SpeechShard]":
    """The shards that `xytok tokenize` finds behind a pattern, in any storage it can read."""
    from pipeline.corpus.listing import list_shards
    from pipeline.corpus.shard import open_shard
    from pipeline.storage.client import Storage
    from pipeline.storage.location import redact
    from xy_codec.training.shard_audio import SpeechShard

    storage = Storage()
    return [
        SpeechShard(redact(shard.url), shard.source8, partial(open_shard, shard, storage))
        for shard in list_shards([pattern], storage)
    ]


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    from xy_codec.errors import ConfigError

    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"`--set {text}` has no `=`; expected NAME=VALUE. Add the value.")
    try:
        return name, yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        # A glob begins like an alias of YAML; what is no YAML is a word.
        return name, value


def _show(progress: "Progress") -> None:
    minutes = progress.seconds_left / 60
    losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
    print(
        f"step {progress.step}/{progress.steps}: {losses}; {progress.audio_per_second:.1f} s of "
        f"audio per second, {minutes:.0f} min left",
        file=sys.stderr,
        flush=True,
    )


def _scorers() -> "list[Scorer]":
    from pipeline.audit.metrics.scores import score_pair

    def score(original: "Wave", made: "Wave", rate_hz: int) -> "Mapping[str, float]":
        groups = ("stoi", "pesq")
        figures = asdict(score_pair(original, made, rate_hz, groups=groups).scores)
        return {name: value for name, value in figures.items() if value is not None}

    return [score]
