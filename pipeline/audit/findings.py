"""What the measuring half of the audit hands to statistics, verdicts and the report.

A `ClipFinding` is one sampled clip; what is known of a shard's tokens without decoding them stands
in `codes/token_report.py`. `audit_output.py` turns clip findings into `findings.parquet` and back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.codes.token_report import TokenReport

# Side values of another platform differ by less; those of another clip by far more.
SIDE_ROUNDING = 1e-3
Better = Literal["higher", "lower", "zero", "neutral"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a figure of `Scores` is to be read; `neutral` describes the clip and judges nothing.

    Of a metric that is best at zero, all values from `fine_from` to zero are as good as zero.
    """

    name: str
    label: str
    unit: str
    better: Better
    fine_from: float = 0.0

    def size(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far values are from good ones for a metric best at zero; else as they are."""
        if self.better != "zero":
            return values
        return np.maximum(values, 0.0) + np.maximum(self.fine_from - values, 0.0)


METRICS: tuple[Metric, ...] = (
    Metric("sim", "SIM", "", "higher"),
    Metric("stoi", "STOI", "", "higher"),
    Metric("pesq_nb", "PESQ-NB", "", "higher"),
    Metric("pesq_wb", "PESQ-WB", "", "higher"),
    Metric("log_mel_distance_db", "log-mel distance", "dB", "lower"),
    Metric("f0_error_cents", "F0 error", "cents", "lower"),
    Metric("f0_shift_cents", "F0 shift", "cents", "zero"),
    Metric("voicing_agreement", "voicing agreement", "", "higher"),
    Metric("gain_db", "level change", "dB", "zero"),
    # A codec that drops samples behind the last whole frame; the longest frame of any has 85 ms.
    Metric("length_difference_seconds", "length difference", "s", "zero", fine_from=-0.0854),
    Metric("cer_increase", "character error over the original's", "share", "lower"),
    Metric("wer_increase", "word error over the original's", "share", "lower"),
    Metric("cer_original", "character error of the original", "share", "neutral"),
    Metric("cer_reconstruction", "character error of the reconstruction", "share", "lower"),
    Metric("wer_original", "word error of the original", "share", "neutral"),
    Metric("wer_reconstruction", "word error of the reconstruction", "share", "lower"),
    Metric("text_rate_change", "speaking rate over the original's", "share", "zero"),
    Metric("dnsmos_original", "DNSMOS of the original", "", "neutral"),
    Metric("dnsmos_reconstruction", "DNSMOS of the reconstruction", "", "higher"),
    Metric("dnsmos_p808_original", "DNSMOS P.808 of the original", "", "neutral"),
    Metric("dnsmos_p808_reconstruction", "DNSMOS P.808 of the reconstruction", "", "higher"),
    Metric("level_original_db", "level of the original", "dBFS", "neutral"),
    Metric("level_reconstruction_db", "level of the reconstruction", "dBFS", "neutral"),
    Metric("clipped_original", "clipped samples of the original", "share", "neutral"),
    Metric("clipped_reconstruction", "clipped samples of the reconstruction", "share", "lower"),
    Metric("silent_original", "silence in the original", "share", "neutral"),
    Metric("silent_reconstruction", "silence in the reconstruction", "share", "neutral"),
)
# What a recogniser hears, against the text of the row: only with `--asr-model`.
TEXT_METRICS = (
    "cer_increase",
    "wer_increase",
    "cer_original",
    "cer_reconstruction",
    "wer_original",
    "wer_reconstruction",
    "text_rate_change",
)
METRIC_NAMES: tuple[str, ...] = tuple(metric.name for metric in METRICS)
# Tested of whole shards beside the metrics; no clip has them as figures of its own.
TOGETHER, CODE_BITS, ORDER_BITS = "together", "code_bits", "order_bits"
LABELS: Mapping[str, str] = {
    **{metric.name: metric.label for metric in METRICS},
    TOGETHER: "all metrics together",
    CODE_BITS: "bits a code",
    ORDER_BITS: "bits a code saves the next",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """Every metric of one pair original → reconstruction; None was not asked for or has a reason.

    Lengths are compared before anything is trimmed: `length_difference_seconds` is reconstruction
    minus original; a codec that drops what is behind its last frame gives values of up to a frame
    below 0. What a codec adds to fill its last frame is cut off first.
    `gain_db` is the level of the reconstruction minus that of the original; `text_rate_change` how
    much more characters are heard in it, as a share: that of their number a second, because both
    last as long. Error rates are at most 1 a clip.
    """

    sim: float | None = None
    stoi: float | None = None
    pesq_nb: float | None = None
    pesq_wb: float | None = None
    log_mel_distance_db: float | None = None
    f0_error_cents: float | None = None
    f0_shift_cents: float | None = None
    voicing_agreement: float | None = None
    gain_db: float | None = None
    length_difference_seconds: float | None = None
    cer_increase: float | None = None
    wer_increase: float | None = None
    cer_original: float | None = None
    cer_reconstruction: float | None = None
    wer_original: float | None = None
    wer_reconstruction: float | None = None
    text_rate_change: float | None = None
    dnsmos_original: float | None = None
    dnsmos_reconstruction: float | None = None
    dnsmos_p808_original: float | None = None
    dnsmos_p808_reconstruction: float | None = None
    level_original_db: float | None = None
    level_reconstruction_db: float | None = None
    clipped_original: float | None = None
    clipped_reconstruction: float | None = None
    silent_original: float | None = None
    silent_reconstruction: float | None = None

    def minus(self, other: "Scores") -> "Scores":
        """Metric by metric difference; None where either side has none."""
        return Scores(
            **{name: _minus(getattr(self, name), getattr(other, name)) for name in METRIC_NAMES}
        )


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


NO_DIFFERENCE = Scores(**dict.fromkeys(METRIC_NAMES, 0.0))


@dataclass(frozen=True, slots=True)
class Drift:
    """Stored codes against codes made here and now from the original, free of content.

    `differing_codes` counts, per codebook, over the frames both have (at shift 0).
    `paired` is score(original, decoded stored) minus score(original, decoded fresh): all 0 where
    the codes are equal, None per metric where one of the two could not be computed.
    `best_shift_frames` is the shift s that makes stored[t] equal fresh[t - s] most often (0 unless
    another explains clearly more), `agreement_at_shift` the share of equal codes there.
    `side_error` is the largest difference of the side values; 0 where the codec has none.
    `explained_by` names the hypothesis under which re-encoding reproduces the stored codes (for
    example `gain +3 dB`, `resampler linear`, `codes of another clip`), None where none does.
    """

    stored_frames: int
    fresh_frames: int
    differing_codes: tuple[int, ...]
    differing_frames: int
    one_bit_flips: int
    constant_codebooks: tuple[int, ...]
    best_shift_frames: int
    agreement_at_shift: float
    paired: Scores
    side_error: float = 0.0
    same_audio: bool | None = None
    explained_by: str | None = None
    explained_agreement: float | None = None

    @property
    def compared_frames(self) -> int:
        """Frames both sides have."""
        return min(self.stored_frames, self.fresh_frames)

    @property
    def equal(self) -> bool:
        """True where all stored and fresh codes are the same, and side values up to rounding."""
        same_codes = self.stored_frames == self.fresh_frames and not any(self.differing_codes)
        return same_codes and self.side_error <= SIDE_ROUNDING


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """One clip of a part: where it is and what it is.

    `drawn` is False of a clip that token checks flagged and that chance did not draw: it is heard,
    and counts in no mean. `weight` is how many clips of its shard a drawn one stands for, of the
    shard's mean: 1 of each, but with `--stratify`.
    """

    shard: str
    key: str
    row: int
    corpus: str | None
    language: str | None
    speaker: str | None
    source_dnsmos: float | None
    text: str | None
    duration: float
    num_frames: int
    tar_offset: int | None
    tar_size: int
    drawn: bool
    weight: float


CLIP_FACTS: tuple[str, ...] = tuple(fact.name for fact in fields(ClipFacts))


@dataclass(frozen=True, slots=True)
class ClipFinding(ClipFacts):
    """One sampled clip: how it sounds, and whether its codes are its own.

    `reasons` says why a figure is missing, by metric name; the keys `original`, `decode` and
    `drift` say that the whole group is missing. `seconds` is the time spent, by step. What was
    heard is there where a recogniser was asked.
    """

    sim_model: str
    scores: Scores = field(default_factory=Scores)
    drift: Drift | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    heard_original: str | None = None
    heard_reconstruction: str | None = None


@dataclass(frozen=True, slots=True)
class ClipAudio:
    """Both sides of a clip at one rate, for players and spectrograms; float32 mono."""

    original: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    rate_hz: int


# The report asks for the audio of the few clips it shows; audit.py reads and decodes them again.
AudioSource = Callable[[ClipFinding], ClipAudio | None]


@dataclass(frozen=True, slots=True)
class AuditFindings:
    """Everything measured in one audit; statistics, verdicts and the report start from here."""

    output: str
    seed: int
    sim_model: str
    codec: Mapping[str, object]
    reencoded_with: Mapping[str, object]
    same_platform: bool
    expected_flip_rate: tuple[float, ...] | None
    clips: tuple[ClipFinding, ...]
    tokens: tuple[TokenReport, ...]
    unfinished_shards: int | None = 0
    seconds: float = 0.0
    reencoded: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    asr_model: str = ""

    @property
    def drawn(self) -> tuple[ClipFinding, ...]:
        """The clips that chance drew, which alone stand for the others."""
        return tuple(clip for clip in self.clips if clip.drawn)
