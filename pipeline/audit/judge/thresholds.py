"""What an audit calls a finding: the limits behind every verdict; four of them are flags."""

from types import MappingProxyType
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

_Share = Annotated[float, Field(ge=0, le=1)]
_Factor = Annotated[float, Field(ge=0)]

# The metrics that judge, each with the smallest difference of means worth telling anybody, in its
# own unit. Others are shown. Every metric that judges makes the test of all others stricter, so
# of those that say the same one judges: PESQ-WB for both, DNSMOS of the original for all four.
MINIMUM_EFFECTS = MappingProxyType(
    {
        "sim": 0.03,
        "stoi": 0.02,
        "pesq_wb": 0.15,
        "log_mel_distance_db": 0.5,
        "f0_error_cents": 15.0,
        "cer_increase": 0.02,
        "gain_db": 0.7,
        "length_difference_seconds": 0.02,
        "dnsmos_original": 0.15,
        "clipped_reconstruction": 0.005,
        "code_bits": 0.3,
        "order_bits": 0.3,
    }
)
# How much the paired means of stored and fresh codes may differ and still be equivalent; see
# `tests/benchmarks/prove_margins.py`.
DRIFT_MARGINS = MappingProxyType({"sim": 0.01, "stoi": 0.005, "pesq_wb": 0.05})
# A clip with more silence than this is silent. How it sounds is not judged: silence flatters every
# metric (PESQ-WB is 3.1 and more in real clips of 93 %, and the usual 1.5 in those of up to 70 %).
# A shard with more such clips holds silence.
SILENT_SHARE, SILENT_CLIPS = 0.9, 0.2
# A shard with more rows than this that repeat one frame is broken, or duplicates: unusual content.
STUCK_SHARE, DUPLICATE_SHARE = 0.02, 0.01


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of an audit.

    Attributes:
        false_alarms: the chance that a run of good shards has any unusual content.
        min_clips: a shard with fewer measured clips (and more rows) cannot be judged.
        effect_scale: multiplies the smallest differences that count.
        max_flip_rate: share of differing codes that is no drift on the run's own platform.
    """

    false_alarms: _Share = 0.01
    min_clips: Annotated[int, Field(ge=0)] = 8
    effect_scale: _Factor = 1.0
    max_flip_rate: _Share = 0.0

    def minimum_effect(self, metric: str) -> float | None:
        """The smallest difference of means that counts; None for a metric that judges nothing."""
        effect = MINIMUM_EFFECTS.get(metric)
        return None if effect is None else effect * self.effect_scale
