"""The embeddings of codes are, bit for bit, what the package's own decoder gets of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xy_codec.contract import Codec
from xy_codec.hub.alone import AloneCodec

# Each class's module behind its quantiser.
BEHIND = {
    "encodec": "decoder",
    "mimi": "decoder",
    "speechtokenizer": "decoder",
    "wavtokenizer": "backbone",
    "dac": "decoder",
    "xcodec": "fc2",
    "xcodec2": "acoustic_decoder",
}
SLOW = ("dac", "xcodec", "xcodec2")


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in BEHIND],
)
def test_embeddings_are_what_the_decoder_gets(name: str, codec_of: Callable[[str], Codec]):
    codec = codec_of(name)
    assert isinstance(codec, AloneCodec)
    second = np.random.default_rng(0).normal(0, 0.1, codec.shape.input_rate_hz)
    codes = codec.encode([second.astype(np.float32)])[0]
    taken: list[np.ndarray] = []

    def take(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        taken.append((args[0] if args else next(iter(named.values())))[0].numpy())

    behind: Any = getattr(codec._model.module, BEHIND[name])
    hook = behind.register_forward_pre_hook(take, with_kwargs=True)
    codec.decode([codes])
    hook.remove()
    found = codec.embeddings([codes])
    assert found is not None
    got = taken[0] if taken[0].shape == found[0].shape else taken[0].T
    assert np.array_equal(found[0], got)
