"""What `encode` and `decode` take; anything else is refused with value, rule and way out."""

import numpy as np

from xy_codec.contract import CodecIdentity
from xy_codec.errors import AudioError, CodesError


def check_waveform(
    waveform: object, identity: CodecIdentity, rate_hz: int | None, what: str
) -> None:
    """Refuse what is not a finite float32 vector at the codec's rate."""
    if not isinstance(waveform, np.ndarray) or waveform.dtype != np.float32:
        kind = getattr(waveform, "dtype", type(waveform).__name__)
        raise AudioError(
            f"{what} is {kind}; expected a numpy array of float32 in [-1, 1]. "
            "Convert it, integer samples divided by their full scale."
        )
    if waveform.ndim != 1:
        raise AudioError(
            f"{what} has shape {list(waveform.shape)}; expected one axis of samples. "
            "Mix it with `xy_codec.audio.mono` and pass one array per clip."
        )
    if rate_hz is not None and rate_hz != identity.input_rate_hz:
        raise AudioError(
            f"{what} is at {rate_hz} Hz; expected {identity.input_rate_hz} Hz. "
            "Convert it with `xy_codec.audio.resample`."
        )
    # One pass and no temporary: a sum is finite unless a sample is not (or float32 overflows).
    if not np.isfinite(waveform.sum(dtype=np.float64)):
        bad = int(np.count_nonzero(~np.isfinite(waveform)))
        raise AudioError(
            f"{what} has {bad} of {len(waveform)} samples that are NaN or infinite; expected "
            "finite samples. Leave the clip out or repair it."
        )


def check_codes(codes: object, identity: CodecIdentity, what: str) -> None:
    """Refuse what is not an integer matrix `[K' <= K, T]` of existing codebook entries."""
    if not isinstance(codes, np.ndarray) or not np.issubdtype(codes.dtype, np.integer):
        kind = getattr(codes, "dtype", type(codes).__name__)
        raise CodesError(f"{what} is {kind}; expected a numpy array of integers. Convert it.")
    if codes.ndim != 2 or not 1 <= codes.shape[0] <= identity.num_codebooks:
        raise CodesError(
            f"{what} has shape {list(codes.shape)}; expected [codebooks, frames] with 1 to "
            f"{identity.num_codebooks} codebooks. Transpose it if frames come first."
        )
    if codes.size and not (codes.min() >= 0 and codes.max() < identity.codebook_size):
        worst = int(codes.max()) if codes.max() >= identity.codebook_size else int(codes.min())
        raise CodesError(
            f"{what} contains {worst}; expected 0 to {identity.codebook_size - 1}. "
            "Remove offsets, padding ids and special tokens first."
        )


def check_depth(num_codebooks: int | None, identity: CodecIdentity) -> None:
    """Refuse a number of codebooks that the codec does not have."""
    if num_codebooks is not None and not 1 <= num_codebooks <= identity.num_codebooks:
        raise CodesError(
            f"Asked for {num_codebooks} codebooks; expected 1 to {identity.num_codebooks}. "
            "Leave it out for all of them."
        )
