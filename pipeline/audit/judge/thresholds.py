"""What an audit calls a finding: the limits behind every verdict, all flags of `xytok audit`."""

from dataclasses import dataclass
from types import MappingProxyType

# Smallest difference of means worth telling anybody, in the metric's own unit.
MINIMUM_EFFECTS = MappingProxyType(
    {
        "sim": 0.03,
        "stoi": 0.02,
        "pesq_nb": 0.15,
        "pesq_wb": 0.15,
        "log_mel_distance_db": 0.5,
        "f0_error_cents": 15.0,
        "voicing_agreement": 0.03,
        "gain_db": 0.7,
        "length_difference_seconds": 0.02,
        "dnsmos_original": 0.15,
        "dnsmos_reconstruction": 0.15,
        "dnsmos_p808_original": 0.15,
        "dnsmos_p808_reconstruction": 0.15,
        "clipped_reconstruction": 0.005,
    }
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of an audit.

    Attributes:
        false_alarms: share of clean shards (and of clean runs) that may be called unusual content.
        min_clips: a shard with fewer measured clips is `too few clips`.
        min_shift: how far a shard must stand from its baseline as Cliff's delta, 0 (same) to 1.
        effect_scale: multiplies the smallest differences of means that count.
        max_flip_rate: share of differing codes that is still no drift where platform and precision
            are the run's own.
        flip_factor: elsewhere, drift begins at this many times the expected flip rate.
        unknown_flip_rate: the expected flip rate where none was recorded.
        silent_share: a clip with more silence than this is silent.
        silent_clips: a shard with a larger share of silent clips holds silence.
        stuck_share: a shard with more rows than this that repeat one frame is broken.
        poor_stoi: a run whose mean STOI is below this is called poor on the page; no baseline says
            so, hence it is no finding.
        duplicate_share: a shard with more duplicate rows than this is unusual content.
    """

    false_alarms: float = 0.01
    min_clips: int = 8
    min_shift: float = 0.33
    effect_scale: float = 1.0
    max_flip_rate: float = 0.0
    flip_factor: float = 3.0
    unknown_flip_rate: float = 0.01
    silent_share: float = 0.95
    silent_clips: float = 0.2
    stuck_share: float = 0.02
    duplicate_share: float = 0.01
    poor_stoi: float = 0.6

    def minimum_effect(self, metric: str) -> float | None:
        """The smallest difference of means that counts; None for a metric that judges nothing."""
        effect = MINIMUM_EFFECTS.get(metric)
        return None if effect is None else effect * self.effect_scale
