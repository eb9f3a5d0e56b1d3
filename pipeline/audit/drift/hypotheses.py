"""Ways in which codes of a clip can have come about, each tried out by encoding it that way.

Only clips whose codes differ get here, and only a few of each shard. A hypothesis counts when the
codes it gives agree with the stored ones clearly better than the fresh codes do.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pipeline.audit.drift.reencode import Explanation, agreement
from pipeline.audit.findings import Drift
from pipeline.audit.sample.originals import Original
from xy_codec.audio import mono, resample
from xy_codec.contract import Codec, Codes, Waveform
from xy_codec.mp3_frames import with_length

_GAINS_DB = (-6.0, -3.0, -1.0, 1.0, 3.0, 6.0)
# What MP3 decoders cut off or leave at the start, in samples of the source.
_DECODER_DELAYS = (-1105, -576, -529, 529, 576, 1105)
# A hypothesis leaves at most this share of the differing codes unexplained.
_LEFT_OVER = 0.5
_AT_LEAST = 0.6
Remake = Callable[[Waveform, int], Waveform]


def explain(stored: Codes, fresh: Codes, original: Original, codec: Codec) -> Explanation | None:
    """The hypothesis that makes the stored codes out of the original, None where none does."""
    variants = _variants(original, codec.shape.input_rate_hz)
    if not variants:
        return None
    encoded = codec.encode(list(variants.values()))
    agreements = [agreement(stored, codes) for codes in encoded]
    best = int(np.argmax(agreements))
    unexplained = 1 - agreement(stored, fresh)
    if 1 - agreements[best] > min(_LEFT_OVER * unexplained, 1 - _AT_LEAST):
        return None
    return Explanation(list(variants)[best], agreements[best])


def explained(
    drift: Drift,
    original: Original,
    fresh: Codes,
    codec: Codec,
    others: Callable[[], tuple[Mapping[int, Codes], Mapping[int, str]]],
) -> Drift:
    """The drift of a clip with the hypothesis that explains it, where one does.

    Args:
        others: codes and keys of rows of the same part, by row; asked only when they are needed.
    """
    if drift.constant_codebooks or drift.best_shift_frames:
        return drift
    if not any(drift.differing_codes) and drift.stored_frames == drift.fresh_frames:
        return replace(drift, explained_by="other side values", explained_agreement=1.0)
    found = codes_of_another(fresh, original.clip.row, *others())
    found = found or explain(original.clip.encoded.codes, fresh, original, codec)
    if found is None:
        return drift
    return replace(drift, explained_by=found.name, explained_agreement=found.agreement)


def codes_of_another(
    fresh: Codes, row: int, all_codes: Mapping[int, Codes], keys: Mapping[int, str]
) -> Explanation | None:
    """The row of the part, other than its own, that holds the codes this clip should have."""
    for other, codes in all_codes.items():
        if other != row and abs(codes.shape[1] - fresh.shape[1]) <= 1:
            share = agreement(codes, fresh)
            if share >= _AT_LEAST:
                return Explanation(f"codes of another clip (swapped with {keys[other]})", share)
    return None


def _variants(original: Original, rate_hz: int) -> dict[str, Waveform]:
    assert original.waveform is not None
    decoded = _decode_native(original.payload)
    if decoded is None:
        return {}
    samples, source_hz = decoded
    variants = {
        f"gain {gain:+.0f} dB": (original.waveform * 10 ** (gain / 20)).astype(np.float32)
        for gain in _GAINS_DB
    }
    if source_hz != rate_hz:
        variants |= {
            f"resampler {name}": remake(samples, source_hz)
            for name, remake in _resamplers(rate_hz).items()
        }
    for delay in _DECODER_DELAYS:
        moved = samples[-delay:] if delay < 0 else np.concatenate([np.zeros(delay), samples])
        name = f"offset {delay:+d} samples at the start"
        variants[name] = resample(moved.astype(np.float32), source_hz, rate_hz)
    return variants


def _resamplers(rate_hz: int) -> Mapping[str, Remake]:
    from scipy.signal import resample as fourier
    from scipy.signal import resample_poly

    def linear(samples: Waveform, source_hz: int) -> Waveform:
        places = np.arange(0, len(samples), source_hz / rate_hz)
        values = np.interp(places, np.arange(len(samples)), samples)
        return np.asarray(values, dtype=np.float32)

    def nearest(samples: Waveform, source_hz: int) -> Waveform:
        places = np.arange(0, len(samples), source_hz / rate_hz).astype(np.int64)
        picked: Waveform = samples[places]
        return picked

    def polyphase(samples: Waveform, source_hz: int) -> Waveform:
        return np.asarray(resample_poly(samples, rate_hz, source_hz), dtype=np.float32)

    def spectral(samples: Waveform, source_hz: int) -> Waveform:
        length = -(-len(samples) * rate_hz // source_hz)
        return np.asarray(fourier(samples, length), dtype=np.float32)

    return {
        "linear": linear,
        "without low pass": nearest,
        "polyphase": polyphase,
        "spectral": spectral,
        "missing (read at a wrong rate)": lambda samples, _: samples,
    }


def _decode_native(payload: bytes) -> tuple[Waveform, int] | None:
    """The samples at the source's own rate."""
    import soundfile

    try:
        file = io.BytesIO(with_length(payload))
        samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError):
        return None
    return mono(samples), int(rate_hz)
