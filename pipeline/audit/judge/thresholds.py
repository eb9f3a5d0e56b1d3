"""What an audit calls a finding: the limits behind every verdict, all flags of `xytok audit`."""

from types import MappingProxyType
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

_Share = Annotated[float, Field(ge=0, le=1)]
_Factor = Annotated[float, Field(ge=0)]

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
        false_alarms: share of clean shards and clean runs that may be called unusual content.
        min_clips: a shard with fewer measured clips is `too few clips`.
        min_shift: how far a shard must stand from its baseline as Cliff's delta, 0 (same) to 1.
        effect_scale: multiplies the smallest differences of means that count.
        max_flip_rate: share of differing codes that is no drift on the run's own platform.
        flip_factor: elsewhere, drift begins at this many times the expected flip rate.
        unknown_flip_rate: the expected flip rate where none was recorded.
        silent_share: a clip with more silence than this is silent.
        silent_clips: a shard with a larger share of silent clips holds silence.
        stuck_share: a shard with more rows than this that repeat one frame is broken.
        poor_stoi: a run with a lower mean STOI is called poor on the page; that is no finding.
        duplicate_share: a shard with more duplicate rows than this is unusual content.
    """

    false_alarms: _Share = 0.01
    min_clips: Annotated[int, Field(ge=0)] = 8
    min_shift: _Share = 0.33
    effect_scale: _Factor = 1.0
    max_flip_rate: _Share = 0.0
    flip_factor: _Factor = 3.0
    unknown_flip_rate: _Share = 0.01
    silent_share: _Share = 0.95
    silent_clips: _Share = 0.2
    stuck_share: _Share = 0.02
    duplicate_share: _Share = 0.01
    poor_stoi: _Share = 0.6

    def minimum_effect(self, metric: str) -> float | None:
        """The smallest difference of means that counts; None for a metric that judges nothing."""
        effect = MINIMUM_EFFECTS.get(metric)
        return None if effect is None else effect * self.effect_scale
