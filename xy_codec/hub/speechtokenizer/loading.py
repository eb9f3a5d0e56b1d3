"""Loading SpeechTokenizer from a folder as its release lays it out; its class for single clips."""

import logging
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity, Waveform
from xy_codec.engine.device import platform_name
from xy_codec.hub.alone import GEOMETRY, AloneCodec, open_reproducible
from xy_codec.hub.packages import build_model, import_model
from xy_codec.hub.self_test import self_tested
from xy_codec.hub.speechtokenizer.family import inner_place, shape_of
from xy_codec.options import DepthOptions, depth_of, read_options
from xy_codec.weights.checkpoint import load_state, read_checkpoint
from xy_codec.weights.source import CodecPlace, find_files, settings_sha256

logger = logging.getLogger(__name__)


class SpeechTokenizerModel:
    """The class of the package `speechtokenizer` as a model of single clips."""

    def __init__(self, module: Any, depth: int, device: torch.device) -> None:
        """Encode the first `depth` codebooks."""
        self.module: nn.Module = module.to(device)
        self._encode, self._decode = module.encode, module.decode
        self._depth = depth
        self._device = device

    def encode(self, waveform: Waveform) -> Tensor:
        """Codes `[K, T]`, as the class gives them for one clip."""
        samples = torch.from_numpy(waveform).to(self._device, copy=True)
        codes: Tensor = self._encode(samples[None, None], n_q=self._depth)
        return codes[:, 0]

    def decode(self, codes: Tensor, _seed: int | None) -> Tensor:
        """Samples of codes `[K', T]`; there is no noise in it."""
        samples: Tensor = self._decode(codes.to(self._device)[:, None])
        return samples.flatten()

    def embed(self, codes: Tensor) -> Tensor:
        """Quantised embeddings `[D, T]` of codes `[K', T]`."""
        quantizer: Any = self.module.quantizer
        steps: Tensor = quantizer.decode(codes.to(self._device)[:, None])
        return steps[0]


def load(place: CodecPlace, wish: Wish) -> AloneCodec:
    """The codec of a folder."""
    device = open_reproducible(place, wish)
    place = inner_place(place)
    config = place.json("config.json")
    given = read_options(DepthOptions, wish.options or {}, "speechtokenizer").depth
    depth = depth_of(given, config["n_q"], "speechtokenizer")
    weights = find_files(place).weights
    logger.info("Reading the checkpoint `%s`", weights)
    checkpoint = read_checkpoint(weights)
    module = build_model(speech_tokenizer_class(), {"config": config}, place)
    load_state(module, checkpoint)
    identity = CodecIdentity(
        name="speechtokenizer",
        checkpoint_sha256=checkpoint.sha256,
        config_sha256=settings_sha256(config),
        shape=shape_of(config, depth),
        company="alone",
        span="whole",
        tail="native",
        decodes="yes",
        precision=wish.precision,
        pack_geometry=GEOMETRY,
        attention="none",
        platform=platform_name(device),
        options={"depth": depth},
        libraries={"speechtokenizer": version("speechtokenizer")},
    )
    return self_tested(SpeechTokenizerModel(module.eval(), depth, device), identity)


def speech_tokenizer_class() -> Any:
    """The class itself."""
    return import_model("speechtokenizer", "model", "speechtokenizer").SpeechTokenizer
