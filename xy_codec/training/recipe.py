"""A training recipe: YAML to one validated frozen object; what is not named has a default here."""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from xy_codec.errors import ConfigError
from xy_codec.training.recipe_ranges import check_ranges

RECIPES = Path(__file__).parent / "recipes"
Block = TypeVar("Block")


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """What is heard: shards, how they are cut, and what is done to the pieces."""

    shards: str  # a glob or fsspec URL pattern
    held_out: str = ""  # shards of other speakers, for evaluation
    crop_seconds: float = 30.0
    batch_clips: int = 4
    cache: str = ""  # a folder for decoded shards; empty keeps them in memory
    pool_shards: int = 64  # decoded at a time
    batches_per_pool: int = 2000
    balance_speakers: bool = False  # draw a speaker in proportion to the root of its hours
    pitches: tuple[float, ...] = (1.0,)  # resampling factors; another pitch is another speaker
    gain_db: tuple[float, float] = (0.0, 0.0)  # of the peak; both 0 leaves the level alone
    filter_chance: float = 0.0  # of a random smooth frequency response


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained and where it starts."""

    codec: str  # a YAML as codecs are loaded with, or the name of a bundled one
    whisper: str = ""  # a transformers model id or folder, or a CTranslate2 `model.bin`
    warm_start: str = ""  # a codec checkpoint: weights only
    scaled_start: bool = False  # fit what starts at random to the first batch


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW, warm-up, cosine decay."""

    learning_rate: float = 1e-4
    final_share: float = 0.05  # of the learning rate, at the last step
    acoustic_encoder_share: float = 1.0  # of the learning rate, for weights that come from Whisper
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.8, 0.99)
    warmup_steps: int = 1000
    clip_norm: float = 5.0
    average_decay: float = 0.999  # of the averaged weights that are evaluated and exported


@dataclass(frozen=True, slots=True)
class SpectralConfig:
    """Windows of the reconstruction loss and mel bands of each."""

    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    num_mels: tuple[int, ...] = (5, 10, 20, 40, 80, 80, 80)
    log: bool = False
    floor: float = 1e-4


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the losses."""

    recon: float = 15.0
    commit: float = 1.0
    asr: float = 1.0
    feature: float = 1.0
    adversarial: float = 1.0
    relative_commit: bool = False  # to the spread of what is coded
    spread: float = 0.0  # weight of the loss for latents in all their directions
    spectral: SpectralConfig = field(default_factory=SpectralConfig)


@dataclass(frozen=True, slots=True)
class CodebookRule:
    """How codebooks learn; `expected_rows` is the number of rows in a step, set from the batch."""

    decay: float = 0.99
    epsilon: float = 1e-5
    dead_share: float = 0.04  # of an even share of the rows, below which an entry is replaced
    kmeans_iterations: int = 10
    start_step: int = 0  # steps without quantisation before the k-means
    kmeans_batches: int = 16
    expected_rows: float = 0.0


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The text branch of pre-training."""

    kind: Literal["none", "ctc", "llm"] = "none"
    model: str = "Qwen/Qwen2.5-0.5B"  # for `llm`


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    """Widths of the three discriminators of post-training."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_width: int = 32
    num_scales: int = 3
    scale_width: int = 16
    stft_windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    stft_width: int = 32
    learning_rate: float = 1e-4
    start_step: int = 0  # discriminators alone learn before the decoder hears them


@dataclass(frozen=True, slots=True)
class Recipe:
    """One stage of training."""

    stage: Literal["pretrain", "posttrain"]
    steps: int
    speech: SpeechConfig
    model: ModelConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    codebooks: CodebookRule = field(default_factory=CodebookRule)
    text: TextConfig = field(default_factory=TextConfig)
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = 1  # batches per step
    log_every: int = 20
    evaluate_every: int = 1000
    save_every: int = 500
    threads: int = 0  # of torch on the CPU; 0 leaves them alone


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by path, or by the name of one in the package; dotted overrides win."""
    place = Path(path)
    if not place.exists() and (RECIPES / f"{path}.yaml").exists():
        place = RECIPES / f"{path}.yaml"
    try:
        loaded = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        names = sorted(each.stem for each in RECIPES.glob("*.yaml"))
        raise ConfigError(
            f"Recipe `{path}` cannot be read: {error}. Expected a YAML file or one of {names}; "
            "check the path."
        ) from error
    for name, value in (overrides or {}).items():
        _override(loaded, name, value)
    recipe = _build(Recipe, loaded, "recipe")
    check_ranges(recipe)
    if len(recipe.losses.spectral.windows) != len(recipe.losses.spectral.num_mels):
        raise ConfigError(
            "`losses.spectral` has windows and num_mels of different lengths; expected one number "
            "of bands for each window. Correct the recipe."
        )
    return recipe


def _override(loaded: Any, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        loaded = loaded.setdefault(parent, {}) if isinstance(loaded, dict) else None
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"`{name}` is no key of a recipe: what is before its last dot is a value; expected a "
            "name such as `speech.crop_seconds`. Correct the setting."
        )
    loaded[leaf] = value


def _build(kind: type[Block], loaded: object, name: str) -> Block:
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"`{name}` is {loaded!r}; expected a mapping. Correct the recipe.")
    unknown = sorted(set(loaded) - set(known))
    missing = sorted(
        key
        for key, each in known.items()
        if key not in loaded and each.default is MISSING and each.default_factory is MISSING
    )
    if unknown or missing:
        raise ConfigError(
            f"`{name}` has unknown keys {unknown} and lacks {missing}; expected {sorted(known)}. "
            "Correct the recipe."
        )
    hints = typing.get_type_hints(kind)
    return kind(
        **{key: _value(hints[key], value, f"{name}.{key}") for key, value in loaded.items()}
    )


def _number(value: object) -> float | None:
    """A finite number, also where YAML 1.1 takes one like `1e-4` for a word."""
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan  # type: ignore[arg-type]
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _value(kind: Any, value: object, name: str) -> Any:
    if is_dataclass(kind):
        return _build(typing.cast(type[Any], kind), value, name)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and value in inner:
        return value
    fits = inner[-1:] == (...,) or (isinstance(value, list | tuple) and len(value) == len(inner))
    if origin is tuple and isinstance(value, list | tuple) and fits:
        return tuple(_value(inner[0], each, name) for each in value)
    if kind is float and (number := _number(value)) is not None:
        return number
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) and type(value) is kind:
        return value
    raise ConfigError(f"`{name}` is {value!r}; expected {kind}. Correct the recipe.")
