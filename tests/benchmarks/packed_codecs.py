"""MOSS-Audio-Tokenizer and SecoustiCodec over packs, and their plain modules at batch 1 and padded.

`bench_codecs.py` times them. SecoustiCodec has the released sizes. MOSS-Audio-Tokenizer has all
widths of the release and two layers a stage: its 886 million parameters take minutes on a CPU.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.bench_codec import emilia_lengths
from xy_codec.contract import Codec
from xy_codec.moss import loading as moss
from xy_codec.moss.config import TransformerConfig
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.released import released_config as released_moss
from xy_codec.moss.state_dict import build_model as build_moss
from xy_codec.secousti import loading as secousti
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.released import released_config as released_secousti
from xy_codec.secousti.state_dict import build_model as build_secousti
from xy_codec.weights.checkpoint import Checkpoint

Ways = Mapping[str, Callable[[], object]]
_LAYERS = 2
_BATCH = 8


def packed_ways(name: str, seconds: Sequence[float]) -> Ways:
    """Three ways to encode clips of these lengths: `packs`, `batch 1` and `batch 8`."""
    torch.manual_seed(0)
    codec, encode = _MAKERS[name]()
    rng = np.random.default_rng(0)
    lengths = [int(each * codec.shape.input_rate_hz) for each in seconds]
    clips = [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]

    @torch.inference_mode()
    def one_by_one() -> None:
        for clip in clips:
            encode(torch.from_numpy(clip)[None])

    @torch.inference_mode()
    def padded() -> None:
        for start in range(0, len(clips), _BATCH):
            batch = clips[start : start + _BATCH]
            waves = torch.zeros(len(batch), max(map(len, batch)))
            for row, clip in zip(waves, batch, strict=True):
                row[: len(clip)] = torch.from_numpy(clip)
            encode(waves)

    return {"packs": lambda: codec.encode(clips), "batch 1": one_by_one, "batch 8": padded}


def clip_seconds(count: int, longest: float) -> list[float]:
    """Emilia's lengths, cut to a longest one."""
    return np.minimum(emilia_lengths(count), longest).tolist()


def _moss() -> tuple[Codec, Callable[[torch.Tensor], object]]:
    released = released_moss()
    encoder, decoder = (tuple(map(_shallow, side)) for side in (released.encoder, released.decoder))
    config = replace(released, encoder=encoder, decoder=decoder)
    state = MossAudioTokenizer(config).state_dict()
    plain = build_moss(config, _checkpoint(state))
    return moss.assemble(config, _checkpoint(state), "cpu"), plain.encode


def _shallow(stage: Any) -> Any:
    is_transformer = isinstance(stage, TransformerConfig)
    return replace(stage, num_layers=_LAYERS) if is_transformer else stage


def _secousti(stride: int) -> tuple[Codec, Callable[[torch.Tensor], object]]:
    config = released_secousti(stride)
    state = SecoustiModel(config).state_dict()
    plain = build_secousti(config, _checkpoint(state))
    return secousti.assemble(_checkpoint(state), "cpu"), plain.encode


def _checkpoint(state: Mapping[str, torch.Tensor]) -> Checkpoint:
    return Checkpoint(Path("random"), dict(state), {}, "0" * 64)


_MAKERS: dict[str, Callable[[], tuple[Codec, Callable[[torch.Tensor], object]]]] = {
    "moss": _moss,
    "secousti-21": lambda: _secousti(2),
    "secousti-86": lambda: _secousti(1),
}
PACKED = tuple(_MAKERS)
