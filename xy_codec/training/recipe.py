"""A training recipe: YAML to one validated frozen object; what is not named has a default here."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from xy_codec.errors import ConfigError
from xy_codec.validation import faults

RECIPES = Path(__file__).parent / "recipes"
_CLOSED = ConfigDict(extra="forbid")


def _number(value: object) -> object:
    """Text such as `1e-4` as a number: YAML 1.1 wants a dot before the `e`."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Number = Annotated[float, BeforeValidator(_number), Field(strict=True, allow_inf_nan=False)]
AboveZero = Annotated[Number, Field(gt=0)]
FromZero = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
CropShare = Annotated[Number, Field(gt=0, le=1)]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
CountFromZero = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, slots=True, config=_CLOSED)
class SpeechConfig:
    """What is heard: shards, how they are cut, and what is done to the pieces."""

    shards: str  # a path with wildcards; `xytok train` also takes URLs
    held_out: str = ""  # shards of other speakers, for evaluation
    crop_seconds: AboveZero = 30.0
    # Each step draws one of these: all its pieces are this share of `crop_seconds` long. A codec
    # that has seen one length only is worse at others.
    crop_shares: Annotated[tuple[CropShare, ...], Field(min_length=1)] = (1.0,)
    join: StrictBool = False  # with `draw`: clips of a speaker one after the other fill a piece
    batch_clips: Count = 4  # of a step, all processes together
    clips_at_once: CountFromZero = 0  # that a process holds at a time; 0: its share of a step
    # `stream` reads every clip once an epoch; `draw` decodes all shards first and draws at random.
    read: Literal["stream", "draw"] = "stream"
    streams: CountFromZero = 0  # shards that are read at a time; 0: as many as `batch_clips`
    shuffle_clips: Count = 256  # of a stream that are mixed
    cache: str = ""  # a folder for decoded shards of `draw`; empty keeps them in memory
    balance_speakers: StrictBool = False  # with `draw`: a speaker's chance is the root of its hours
    # Factors of speed; another pitch is another speaker.
    pitches: Annotated[tuple[AboveZero, ...], Field(min_length=1)] = (1.0,)
    gain_db: tuple[Number, Number] = (0.0, 0.0)  # of the peak; both 0 leaves the level alone
    filter_chance: Share = 0.0  # of a random smooth frequency response

    @property
    def mean_crop_seconds(self) -> float:
        """How long pieces are, the mean over steps."""
        return self.crop_seconds * sum(self.crop_shares) / len(self.crop_shares)


@dataclass(frozen=True, slots=True, config=_CLOSED)
class ModelConfig:
    """What is trained and where it starts."""

    codec: str  # a YAML as codecs are loaded with, or the name of a bundled one
    whisper: str = ""  # a transformers model id or folder, or a CTranslate2 `model.bin`
    warm_start: str = ""  # a codec checkpoint: weights only
    scaled_start: StrictBool = False  # fit what starts at random to the first batch
    train_semantic: StrictBool = False  # the semantic encoder too, e.g. without Whisper's weights
    # One encoder for everything: the semantic one, trained; nothing of the acoustic one is coded.
    single_channel: StrictBool = False


@dataclass(frozen=True, slots=True, config=_CLOSED)
class OptimizerConfig:
    """AdamW, warm-up, cosine decay."""

    learning_rate: AboveZero = 1e-4
    final_share: Share = 0.05  # of the learning rate, at the last step
    acoustic_encoder_share: Number = 1.0  # of the learning rate, for weights from Whisper
    weight_decay: FromZero = 0.01
    betas: tuple[Beta, Beta] = (0.8, 0.99)
    warmup_steps: CountFromZero = 1000
    clip_norm: AboveZero = 5.0
    average_decay: Share = 0.999  # of the averaged weights that are evaluated and exported


@dataclass(frozen=True, slots=True, config=_CLOSED)
class SpectralConfig:
    """Windows of the reconstruction loss and mel bands of each."""

    windows: tuple[Count, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    num_mels: tuple[Count, ...] = (5, 10, 20, 40, 80, 80, 80)
    log: StrictBool = False
    floor: Number = 1e-4

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len(self.windows) != len(self.num_mels):
            raise ValueError(
                f"`losses.spectral` has {len(self.windows)} windows and {len(self.num_mels)} "
                "num_mels; expected one number of bands for each window"
            )
        return self


@dataclass(frozen=True, slots=True, config=_CLOSED)
class LossConfig:
    """Weights of the losses. The paper states `recon` 15, `feature` 1 and `adversarial` 1."""

    recon: Number = 15.0  # of the sum over `spectral.windows`
    commit: Number = 1.0  # of the sum over codebooks
    asr: Number = 1.0
    feature: Number = 1.0
    adversarial: Number = 1.0
    relative_commit: StrictBool = False  # to the spread of what is coded
    spread: Number = 0.0  # weight of the loss for latents in all their directions
    # Distances of the reconstruction for frozen networks that hear; not in the paper.
    recogniser_features: FromZero = 0.0  # over the layers of a Whisper encoder
    recogniser: str = ""  # a transformers id or folder, or a CTranslate2 `model.bin`
    speaker_features: FromZero = 0.0  # between embeddings of the voice
    speaker_encoder: str = ""  # the `pretrained.pt` of the package Resemblyzer
    spectral: SpectralConfig = field(default_factory=SpectralConfig)

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        for weight, network in (
            ("recogniser_features", "recogniser"),
            ("speaker_features", "speaker_encoder"),
        ):
            if getattr(self, weight) and not getattr(self, network):
                raise ValueError(
                    f"`losses.{weight}` is {getattr(self, weight)}, but `losses.{network}` is "
                    "empty; expected the weights of the network that listens"
                )
        return self


@dataclass(frozen=True, slots=True, config=_CLOSED)
class CodebookRule:
    """How codebooks learn."""

    decay: Share = 0.99
    epsilon: Number = 1e-5
    dead_share: Number = 0.04  # of an even share of the vectors; below it an entry is replaced
    kmeans_iterations: CountFromZero = 10
    start_step: CountFromZero = 0  # steps without quantisation before the k-means
    kmeans_batches: Count = 16  # of the last steps before it


@dataclass(frozen=True, slots=True, config=_CLOSED)
class TextConfig:
    """The text branch of pre-training."""

    kind: Literal["none", "ctc", "llm"] = "none"
    model: str = "Qwen/Qwen2.5-0.5B"  # for `llm`
    trainable: StrictBool = False  # the language model too
    # The transformer between frames and language model.
    adapter_layers: Count = 4
    adapter_width: Count = 768
    adapter_heads: Count = 12


@dataclass(frozen=True, slots=True, config=_CLOSED)
class DiscriminatorConfig:
    """The discriminators of post-training; the defaults are SpeechTokenizer's."""

    periods: tuple[Count, ...] = (2, 3, 5, 7, 11)
    period_width: Count = 32  # channels go up to 32 times as many
    num_scales: CountFromZero = 3
    scale_width: Count = 128  # channels go up to 8 times as many
    stft_windows: tuple[Count, ...] = (2048, 1024, 512, 256, 128)
    stft_width: Count = 32
    learning_rate: AboveZero = 1e-4
    start_step: CountFromZero = 0  # discriminators alone learn before the decoder hears them


@dataclass(frozen=True, slots=True, config=_CLOSED)
class Recipe:
    """One stage of training."""

    stage: Literal["pretrain", "posttrain"]
    steps: Count
    speech: SpeechConfig
    model: ModelConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    codebooks: CodebookRule = field(default_factory=CodebookRule)
    text: TextConfig = field(default_factory=TextConfig)
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    seed: CountFromZero = 0
    # `auto` tries both at the start of a run and takes the faster one.
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    # Of each layer only the input is kept for gradients: less memory for about a third more time.
    recompute_activations: StrictBool = False
    log_every: Count = 20
    evaluate_every: Count = 1000
    save_every: Count = 500
    threads: CountFromZero = 0  # of torch on the CPU; 0 leaves them alone


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by path, or by the name of one in the package; dotted overrides win.

    Raises:
        ConfigError: naming every wrong value at once.
    """
    place = Path(path)
    if not place.exists() and (RECIPES / f"{path}.yaml").exists():
        place = RECIPES / f"{path}.yaml"
    try:
        loaded = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        names = sorted(each.stem for each in RECIPES.glob("*train.yaml"))
        raise ConfigError(
            f"Recipe `{path}` cannot be read: {error}. Expected a YAML file or one of {names}; "
            "check the path."
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"Recipe `{path}` is {loaded!r}; expected a mapping. Correct the file.")
    for name, value in (overrides or {}).items():
        _override(loaded, name, value)
    try:
        return TypeAdapter(Recipe).validate_python(loaded)
    except ValidationError as error:
        wrong = "; ".join(map(str, faults(error, Recipe)))
        raise ConfigError(f"Recipe `{path}` has wrong values: {wrong}. Correct them.") from error


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
