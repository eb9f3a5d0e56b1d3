"""How many codes the precision of a run flips against `exact`, on its own platform and audio.

Recorded with the run, so that an audit elsewhere, in `exact`, knows what to expect.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

from pipeline.corpus.decode import Bounds, DecodedClip, decode_clip
from pipeline.corpus.pairing import AUDIO_EXTENSIONS
from pipeline.corpus.sampling import first_members
from pipeline.corpus.shard import Shard
from pipeline.errors import PipelineError
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import Codec, Waveform

logger = logging.getLogger(__name__)
# 750 frames of 8 codes tell 1 % to about a tenth of it.
_SECONDS = 60.0


def measure_flip_rate(
    codec: Codec, request: CodecRequest, shard: Shard, storage: Storage
) -> tuple[float, ...] | None:
    """The share of differing codes per codebook on the first minute (2 MiB at most) of a shard.

    None where the shard begins with nothing that can be decoded, or memory is too small for a
    second codec.
    """
    import torch

    from xy_codec.flips import flip_rates

    waveforms = list(_first_minute(shard, storage, codec.identity.input_rate_hz))
    if not waveforms:
        return None
    try:
        exact = replace(request, precision="exact").load()
        return flip_rates(exact.encode(waveforms), codec.encode(waveforms))
    except torch.cuda.OutOfMemoryError:
        logger.warning("The flip rate was not measured: no memory for a second codec")
        return None


def _first_minute(shard: Shard, storage: Storage, rate_hz: int) -> Iterator[Waveform]:
    left = _SECONDS
    try:
        members = first_members(shard, storage)
    except PipelineError:
        # The run itself will say what is wrong with the shard.
        return
    for member in members:
        if left <= 0:
            return
        if member.name.rpartition(".")[2].lower() in AUDIO_EXTENSIONS:
            clip = decode_clip(member.payload or b"", rate_hz, Bounds())
            if isinstance(clip, DecodedClip):
                left -= len(clip.waveform) / rate_hz
                yield clip.waveform
