"""What `encode` and `decode` take; anything else is refused with value, rule and way out."""

import numpy as np

from xy_codec.codes_shape import CodesShape
from xy_codec.errors import AudioError, CodesError


def check_waveform(waveform: object, shape: CodesShape, rate_hz: int | None, what: str) -> None:
    """Refuse what is not a finite float32 vector at the codec's rate, or is too long for it."""
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
    if rate_hz is not None and rate_hz != shape.input_rate_hz:
        raise AudioError(
            f"{what} is at {rate_hz} Hz; expected {shape.input_rate_hz} Hz. "
            "Convert it with `xy_codec.audio.resample`."
        )
    seconds = len(waveform) / shape.input_rate_hz
    if shape.max_seconds is not None and seconds > shape.max_seconds:
        raise AudioError(
            f"{what} has {seconds:.2f} s; expected at most {shape.max_seconds:g} s, because the "
            "codec takes a clip whole. Cut it where nobody speaks."
        )
    # One pass and no temporary: a sum is finite unless a sample is not (or float32 overflows).
    if not np.isfinite(waveform.sum(dtype=np.float64)):
        bad = int(np.count_nonzero(~np.isfinite(waveform)))
        raise AudioError(
            f"{what} has {bad} of {len(waveform)} samples that are NaN or infinite; expected "
            "finite samples. Leave the clip out or repair it."
        )


def check_codes(codes: object, shape: CodesShape, what: str) -> None:
    """Refuse what is not an integer matrix of rows that decode, of existing codebook entries."""
    if not isinstance(codes, np.ndarray) or not np.issubdtype(codes.dtype, np.integer):
        kind = getattr(codes, "dtype", type(codes).__name__)
        raise CodesError(f"{what} is {kind}; expected a numpy array of integers. Convert it.")
    fewest = 1 if shape.prefixes_decode else shape.num_codebooks
    if codes.ndim != 2 or not fewest <= codes.shape[0] <= shape.num_codebooks:
        most = shape.num_codebooks
        wanted = f"{fewest} to {most}" if fewest < most else str(most)
        raise CodesError(
            f"{what} has shape {list(codes.shape)}; expected [codebooks, frames] with {wanted} "
            "codebooks. Transpose it if frames come first."
        )
    sizes = np.array(shape.codebook_sizes[: codes.shape[0]])
    bad = (codes < 0) | (codes >= sizes[:, None])
    if bad.any():
        row, frame = np.argwhere(bad)[0]
        raise CodesError(
            f"{what} contains {codes[row, frame]}; expected 0 to {sizes[row] - 1} in codebook "
            f"{row}. Remove offsets, padding ids and special tokens first."
        )


def check_side(side: object, sizes: tuple[int, ...], position: int) -> None:
    """Refuse side values that are not finite floats of one of these numbers, or are missing.

    Args:
        sizes: none where the codec has no side values, and None is expected.
        position: that of the clip among those that were given.
    """
    what = f"Side {position}"
    if side is None:
        if not sizes:
            return
        raise CodesError(
            f"Codes {position} came without side values; expected the {sizes[0]} floats that "
            "`encode_with_side` gave for the clip, because the codec makes its sound of both. "
            "Pass `side`."
        )
    if not sizes:
        raise CodesError(f"{what} was given; expected None, because the codec has no side values.")
    if not isinstance(side, np.ndarray) or not np.issubdtype(side.dtype, np.floating):
        kind = getattr(side, "dtype", type(side).__name__)
        raise CodesError(f"{what} is {kind}; expected a numpy array of float32. Convert it.")
    if side.ndim != 1 or len(side) not in sizes or not np.isfinite(side).all():
        raise CodesError(
            f"{what} has shape {list(side.shape)}; expected {' or '.join(map(str, sizes))} finite "
            "values. Pass what `encode_with_side` gave for the clip."
        )
