"""Loading SNAC from a folder as its release lays it out."""

import logging
import math
from importlib.metadata import version

from xy_codec.catalogue import Wish
from xy_codec.contract import CodecIdentity
from xy_codec.engine.device import platform_name
from xy_codec.errors import ConfigError
from xy_codec.hub.alone import GEOMETRY, AloneCodec, open_reproducible
from xy_codec.hub.packages import build_model, import_model
from xy_codec.hub.self_test import self_tested
from xy_codec.hub.snac.family import rows_of_codebooks, shape_of
from xy_codec.hub.snac.model import SnacModel
from xy_codec.weights.checkpoint import load_state, read_checkpoint
from xy_codec.weights.source import CodecPlace, find_files, settings_sha256

logger = logging.getLogger(__name__)


def load(place: CodecPlace, wish: Wish) -> AloneCodec:
    """The codec of a folder."""
    device = open_reproducible(place, wish)
    config = place.json("config.json")
    strides, window = config["vq_strides"], config.get("attn_window_size") or 1
    if math.lcm(strides[0], window) != strides[0]:
        raise ConfigError(
            f"`{place.source}` has `attn_window_size` {window}, so that its clips end in whole "
            f"windows; expected none, as in the release for speech at 24 kHz. Use that one."
        )
    weights = find_files(place).weights
    logger.info("Reading the checkpoint `%s`", weights)
    checkpoint = read_checkpoint(weights)
    module = build_model(import_model("snac", "snac", "codecs").SNAC, config, place)
    load_state(module, checkpoint)
    identity = CodecIdentity(
        name="snac",
        checkpoint_sha256=checkpoint.sha256,
        config_sha256=settings_sha256(config),
        shape=shape_of(config),
        company="alone",
        span="whole",
        tail="zero_to_frame",
        decodes="seed" if config.get("noise", True) else "yes",
        precision=wish.precision,
        pack_geometry=GEOMETRY,
        attention="none",
        platform=platform_name(device),
        libraries={"snac": version("snac")},
    )
    return self_tested(SnacModel(module.eval(), rows_of_codebooks(config), device), identity)
