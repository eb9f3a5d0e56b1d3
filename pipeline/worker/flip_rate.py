"""The flip rate of a run: the share of codes that its precision changes compared with `exact`.

An engine measures it before the first shard, on that shard. `run.json` records it, so that an audit
which encodes in `exact` knows how many codes may differ.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.corpus.decode import ClipBounds, DecodedClip, load_decoder
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import first_clips
from pipeline.corpus.shard import Shard
from pipeline.errors import PipelineError
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import Codec, Codes, Waveform

logger = logging.getLogger(__name__)
# A minute has 750 frames of 8 codes: enough to measure a rate of 1 % to about 0.1 %.
_SECONDS = 60.0


def measure_flip_rate(
    codec: Codec, request: CodecRequest, shard: Shard, storage: Storage, rules: ReadRules
) -> tuple[float, ...] | None:
    """The share of differing codes per codebook on the first minute (2 MiB at most) of a shard.

    None when no clip there can be decoded, or when memory is too small for a second codec.
    """
    import torch

    waveforms = list(_first_minute(shard, storage, rules, codec.shape.input_rate_hz))
    if not waveforms:
        return None
    try:
        exact = replace(request, precision="exact").load()
        return flip_rates(exact.encode(waveforms), codec.encode(waveforms))
    except torch.cuda.OutOfMemoryError:
        logger.warning("The flip rate was not measured: no memory for a second codec")
        return None


def flip_rates(wanted: Sequence[Codes], got: Sequence[Codes]) -> tuple[float, ...] | None:
    """The share of differing codes per codebook; None without a single frame."""
    flipped = np.concatenate([a != b for a, b in zip(wanted, got, strict=True)], axis=1)
    if not flipped.size:
        return None
    return tuple(float(rate) for rate in flipped.mean(axis=1))


def _first_minute(
    shard: Shard, storage: Storage, rules: ReadRules, rate_hz: int
) -> Iterator[Waveform]:
    left = _SECONDS
    try:
        clips, _ = first_clips(shard, storage, rules)
    except PipelineError:
        # The run reads the same shard next and reports what is wrong with it.
        return
    decode = load_decoder(rules.decoding)
    for files in clips:
        if left <= 0:
            return
        if files.audio is not None:
            clip = decode(files.audio.payload or b"", rate_hz, ClipBounds())
            if isinstance(clip, DecodedClip):
                left -= len(clip.waveform) / rate_hz
                yield clip.waveform
