"""How fast a codec encodes and decodes here, on clips of Emilia's lengths."""

from dataclasses import dataclass
from functools import partial

from pipeline.bench.codec_speed import emilia_clips
from pipeline.bench.timing import repeat_for, synchronised
from xy_codec.contract import Codec


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of audio a second; `decode` is None where the codec has no decoder."""

    encode: float
    decode: float | None
    device: str
    threads: int


def measure_speed(codec: Codec, seconds: float) -> Speed:
    """Encode and decode the same clips for about so many seconds each."""
    import torch

    clips = emilia_clips(codec, seconds)
    audio = sum(len(clip) for clip in clips) / codec.shape.input_rate_hz

    encode = synchronised(partial(codec.encode, clips))
    encoded = repeat_for(encode, seconds).median
    decoded = None
    if codec.identity.decodes != "no":
        decode = synchronised(partial(codec.decode_encoded, codec.encode_with_side(clips)))
        decode()  # warms up
        decoded = repeat_for(decode, seconds).median
    return Speed(
        audio / encoded,
        audio / decoded if decoded else None,
        codec.identity.platform,
        torch.get_num_threads(),
    )
