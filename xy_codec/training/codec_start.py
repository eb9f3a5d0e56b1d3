"""Building the codec that a recipe trains, from a configuration and from weights."""

from collections.abc import Callable
from pathlib import Path

import torch

from xy_codec.errors import ConfigError
from xy_codec.training.recipe import RECIPES, Recipe
from xy_codec.training.training_codec import TrainingCodec
from xy_codec.training.whisper_weights import load_whisper, whisper_encoder_state
from xy_codec.weights.source import fetch_codec, find_files, read_config
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.state_dict import build_model, read_released


def codec_config_path(recipe: Recipe) -> Path:
    """The YAML of the codec: a path, a YAML beside the recipes, or a bundled checkpoint's."""
    name = recipe.model.codec
    if Path(name).exists():
        return Path(name)
    if (RECIPES / f"{name}.yaml").exists():
        return RECIPES / f"{name}.yaml"
    return find_files(fetch_codec(name)).config or Path(name)


def codec_config(recipe: Recipe) -> CodecConfig:
    """The sizes of the codec that a recipe trains."""
    return CodecConfig.from_mapping(read_config(codec_config_path(recipe)))


def start_codec(recipe: Recipe, fetch: Callable[[str], str] = str) -> TrainingCodec:
    """The codec at the start of a run: random, from Whisper, or warm from a checkpoint."""
    torch.manual_seed(recipe.seed)
    config = codec_config(recipe)
    if recipe.model.warm_start:
        weights = find_files(fetch_codec(fetch(recipe.model.warm_start))).weights
        model = build_model(config, read_released(weights)).requires_grad_(True)
        samples = recipe.speech.mean_crop_seconds * config.input_sample_rate
        vectors = recipe.speech.batch_clips * samples / config.encoder_downsample_rate
        rescale_counts(model, vectors)
    else:
        model = XYTokenizer(config)
    if recipe.model.whisper:
        state = whisper_encoder_state(recipe.model.whisper)
        load_whisper(model.semantic_encoder, state)
        load_whisper(model.acoustic_encoder, state)
    trains_semantic = recipe.model.train_semantic or recipe.model.single_channel
    model.semantic_encoder.requires_grad_(trains_semantic)
    if recipe.model.single_channel:
        cut_acoustic_channel(model)
    return TrainingCodec(model, relative_commit=recipe.losses.relative_commit)


def frozen_by_chance(recipe: Recipe) -> str:
    """What of the codec would be frozen as it was drawn at random; empty where nothing is."""
    model = recipe.model
    if model.warm_start:
        return ""
    if recipe.stage == "posttrain":
        return "encoders and quantiser"
    if model.whisper or model.train_semantic or model.single_channel:
        return ""
    return "the semantic encoder"


def rescale_counts(model: XYTokenizer, expected_vectors: float) -> None:
    """Fit the moving counts of codebooks to this run's batches.

    A checkpoint for inference leaves the counts out, and another run had other batches.
    """
    for book in model.quantizer.codebooks():
        total = book.cluster_size.sum().clamp(min=1e-6)
        book.cluster_size.mul_(expected_vectors / total)
        book.embed_avg.copy_(book.codebook * book.cluster_size[:, None])


def cut_acoustic_channel(model: XYTokenizer) -> None:
    """Hold the weights at 0 through which the acoustic encoder would come into the codes.

    The codec keeps its layout, so that it is exported and loaded as any other.
    """
    projection = model.pre_rvq_adapter.proj
    if projection is None:
        raise ConfigError(
            "`model.single_channel` is set, but `pre_rvq_adapter_kwargs` of the codec has one "
            "width for `input_dim` and `d_model`; expected two, as published. Change `model.codec`."
        )
    semantic = model.config.semantic_encoder_adapter_kwargs.output_dim
    is_semantic = torch.arange(projection.in_features) < semantic
    with torch.no_grad():
        projection.weight.mul_(is_semantic)
    projection.weight.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * is_semantic.to(gradient.device)
    )
    model.acoustic_encoder.requires_grad_(False)
