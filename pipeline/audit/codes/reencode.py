"""Stored codes against fresh ones from the same original: what differs, how, and what explains it.

A hypothesis is a way in which codes can have come about, tried out by encoding the clip that way.
Only clips whose codes differ get there, and only a few of each shard. It counts when the codes it
gives agree with the stored ones clearly better than the fresh codes do.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import NO_DIFFERENCE, Drift, Scores
from pipeline.audit.sample.originals import Original
from xy_codec.audio import mono, resample
from xy_codec.contract import Codec, Codes, Side, Waveform
from xy_codec.mp3_frames import with_length

# Shifts to look for: 12 frames of XY-Tokenizer.
MAX_SHIFT_SECONDS = 0.96
# A shift explains a difference when it lifts the agreement by this much, and to at least that.
_SHIFT_GAIN = 0.2
_SHIFT_AGREEMENT = 0.3
# Fewer frames than this agree at some shift by chance.
_MIN_FRAMES = 8
_GAINS_DB = (-6.0, -3.0, -1.0, 1.0, 3.0, 6.0)
# What MP3 decoders cut off or leave at the start, in samples of the source.
_DECODER_DELAYS = (-1105, -576, -529, 529, 576, 1105)
# A hypothesis leaves at most this share of the differing codes unexplained.
_LEFT_OVER = 0.5
_AT_LEAST = 0.6
Remake = Callable[[Waveform, int], Waveform]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hypothesis under which the stored codes come out, and the share that then agrees."""

    name: str
    agreement: float


def compare_codes(
    stored: Codes,
    fresh: Codes,
    *,
    max_shift: int = 12,
    side_error: float = 0.0,
    same_audio: bool | None = None,
    paired: Scores = NO_DIFFERENCE,
    explanation: Explanation | None = None,
) -> Drift:
    """The drift of one clip; `[K, T]` each, of the same K."""
    frames = min(stored.shape[1], fresh.shape[1])
    left, right = stored[:, :frames], fresh[:, :frames]
    differs = left != right
    shift, agreement = _best_shift(stored, fresh, max_shift)
    return Drift(
        stored_frames=stored.shape[1],
        fresh_frames=fresh.shape[1],
        differing_codes=tuple(int(count) for count in differs.sum(axis=1)),
        differing_frames=int(differs.any(axis=0).sum()),
        one_bit_flips=_one_bit_flips(left[differs], right[differs]),
        constant_codebooks=_constant_codebooks(stored, fresh),
        best_shift_frames=shift,
        agreement_at_shift=agreement,
        paired=paired,
        side_error=side_error,
        same_audio=same_audio,
        explained_by=explanation.name if explanation else None,
        explained_agreement=explanation.agreement if explanation else None,
    )


def side_error(stored: Side | None, fresh: Side | None) -> float:
    """The largest difference of two clips' side values; infinite where they cannot be compared."""
    if stored is None and fresh is None:
        return 0.0
    if stored is None or fresh is None or stored.shape != fresh.shape:
        return math.inf
    error = float(np.abs(stored - fresh).max(initial=0.0))
    return math.inf if math.isnan(error) else error


def agreement(stored: Codes, fresh: Codes, shift: int = 0) -> float:
    """Share of equal codes with stored[t] against fresh[t - shift], over the frames both have."""
    left = stored[:, max(shift, 0) :]
    right = fresh[:, max(-shift, 0) :]
    frames = min(left.shape[1], right.shape[1])
    if frames == 0 or left.shape[0] != right.shape[0]:
        return 0.0
    return float((left[:, :frames] == right[:, :frames]).mean())


def _best_shift(stored: Codes, fresh: Codes, max_shift: int) -> tuple[int, float]:
    still = agreement(stored, fresh)
    frames = min(stored.shape[1], fresh.shape[1])
    reach = min(max_shift, frames - _MIN_FRAMES)
    if still == 1.0 or reach < 1:
        return 0, still
    shifts = [shift for shift in range(-reach, reach + 1) if shift]
    agreements = [agreement(stored, fresh, shift) for shift in shifts]
    best = int(np.argmax(agreements))
    if agreements[best] < max(still + _SHIFT_GAIN, _SHIFT_AGREEMENT):
        return 0, still
    return shifts[best], agreements[best]


def _one_bit_flips(left: NDArray[np.int16], right: NDArray[np.int16]) -> int:
    changed = left ^ right
    return int(((changed & (changed - 1)) == 0).sum())


def _constant_codebooks(stored: Codes, fresh: Codes) -> tuple[int, ...]:
    """Codebooks that are stuck on one value in the stored codes while the fresh ones move."""
    if stored.shape[1] < _MIN_FRAMES or fresh.shape[1] < 2:
        return ()
    stuck = (stored == stored[:, :1]).all(axis=1) & (fresh != fresh[:, :1]).any(axis=1)
    return tuple(int(book) for book in np.flatnonzero(stuck))


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
