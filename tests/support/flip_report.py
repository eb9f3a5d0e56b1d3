"""How far one way of computing codes is from another: flipped codes, and what they do to sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.worker.flip_rate import flip_rates
from xy_codec.audio import resample
from xy_codec.contract import Codec, Codes, Waveform
from xy_codec.errors import ConfigError
from xy_codec.xy.config import MelConfig
from xy_codec.xy.mel import LogMel

Mel = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FlipReport:
    """Codes of `other` against those of `reference` on the same audio.

    Mel distances are mean absolute differences of log-mel spectrograms (units of decades / 4)
    between the original and what the reference codec decodes from each set of codes.
    """

    num_frames: int
    flip_rate: tuple[float, ...]
    overall_flip_rate: float
    mel_distance_reference: float
    mel_distance_other: float
    mel_distance_between: float

    def to_lines(self) -> list[str]:
        """The report for people."""
        rates = "  ".join(f"{rate:.2%}" for rate in self.flip_rate)
        return [
            f"flipped codes per codebook: {rates}",
            f"flipped codes overall:      {self.overall_flip_rate:.2%} of {self.num_frames} frames",
            f"distance to the original: {self.mel_distance_reference:.4f} with the reference"
            f" codes, {self.mel_distance_other:.4f} with the others"
            f" ({self.mel_distance_between:.4f} between the two)",
        ]


def measure_flips(reference: Codec, other: Codec, waveforms: Sequence[Waveform]) -> FlipReport:
    """Encode with both codecs, decode both sets of codes with the reference, and compare."""
    if reference.identity.checkpoint_sha256 != other.identity.checkpoint_sha256:
        raise ConfigError(
            f"Codecs have checkpoints `{reference.identity.checkpoint_sha256[:8]}` and "
            f"`{other.identity.checkpoint_sha256[:8]}`; expected the same one. "
            "Codes of different checkpoints cannot be compared."
        )
    wanted, got = reference.encode(waveforms), other.encode(waveforms)
    rates = flip_rates(wanted, got)
    if rates is None:
        raise ConfigError(
            "The audio has no whole frame; expected at least 80 ms. Pass longer clips."
        )
    first, second = _mels(reference, wanted), _mels(reference, got)
    originals = [_mel(waveform) for waveform in waveforms]
    return FlipReport(
        num_frames=sum(codes.shape[1] for codes in wanted),
        flip_rate=rates,
        overall_flip_rate=float(np.mean(rates)),
        mel_distance_reference=_distance(originals, first),
        mel_distance_other=_distance(originals, second),
        mel_distance_between=_distance(first, second),
    )


def _mels(codec: Codec, codes: Sequence[Codes]) -> list[Mel]:
    rate_hz = codec.shape.output_rate_hz
    return [_mel(resample(wave, rate_hz, 16000)) for wave in codec.decode(codes)]


def _mel(waveform: Waveform) -> Mel:
    config = MelConfig()
    whole = len(waveform) // config.hop_length * config.hop_length
    if whole <= config.n_fft:
        return np.zeros((0, config.feature_size), np.float32)
    mel: Mel = LogMel(config)(torch.from_numpy(waveform[:whole])[None])[0].numpy()
    return mel


def _distance(left: Sequence[Mel], right: Sequence[Mel]) -> float:
    pairs = [(a, b, min(len(a), len(b))) for a, b in zip(left, right, strict=True)]
    gaps = [np.abs(a[:count] - b[:count]).ravel() for a, b, count in pairs]
    joined = np.concatenate(gaps)
    return float(joined.mean()) if joined.size else 0.0
