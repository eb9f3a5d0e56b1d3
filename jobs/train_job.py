"""`xytok train`: one stage of a training recipe, resumed by running the same command again."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Device, Output, flags
from pipeline.training.options import TogetherOptions

if TYPE_CHECKING:
    from xy_codec.training.trainer import Progress

# What the paper reports for one H100, to compare our speed with.
_PAPER = {"pretrain": 136.7, "posttrain": 46.6}


def train(
    *,
    recipe: Annotated[
        str,
        Parameter(
            help="a YAML file, or nano_pretrain, nano_long_pretrain, nano_listening_pretrain, "
            "nano_posttrain, full_pretrain or full_posttrain."
        ),
    ],
    output: Annotated[str, Output, Parameter(help="the folder of this training, or its URL.")],
    device: Device = "auto",
    set: Annotated[
        tuple[str, ...],
        Parameter(
            help="NAME=VALUE changes one value of the recipe, e.g. "
            "speech.shards=s3://bucket/*.tar (repeatable)."
        ),
    ] = (),
    together: Annotated[TogetherOptions, flags("Several workers")] = TogetherOptions(),
    log: Log = LogOptions(),
) -> int:
    """Train to the recipe's last step."""
    import torch

    from pipeline.storage.client import Storage
    from pipeline.storage.location import join
    from pipeline.training.run import train_here
    from pipeline.training.together import train_together
    from xy_codec.training.recipe import load_recipe

    stage = load_recipe(recipe, dict(_setting(each) for each in set))
    print(
        f"To compare speeds with: the paper's {stage.stage}, at full size on one H100, takes "
        f"{_PAPER[stage.stage]} s of audio per second.",
        file=sys.stderr,
    )
    if together.by_ray:
        train_together(stage, output, together, _show)
    else:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        train_here(stage, output, device, _show)
    best = join(output, "best")
    if not Storage().exists(join(best, "config.yaml")):
        print(f"{output}: no codec yet, its codebooks start at a later step", file=sys.stderr)
        return 0
    print(best)
    return 0


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
    speed = f"{progress.audio_per_second:.1f} s of audio per second"
    if progress.processes > 1:
        each = progress.audio_per_second / progress.processes
        speed += f" ({each:.1f} in each of {progress.processes} processes)"
    # Not by `print`: in its workers Ray Train has one of its own, which writes a line twice.
    sys.stderr.write(
        f"step {progress.step}/{progress.steps}: {losses}; {speed}, {minutes:.0f} min left\n"
    )
    sys.stderr.flush()
