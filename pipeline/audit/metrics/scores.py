"""Every metric of one pair, original and reconstruction: what each is, or why it is missing.

`score_pair` is the one entry. No metric can spoil another: each is timed, and one that is not
defined on the pair leaves a reason.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from pipeline.audit.findings import METRIC_NAMES, TEXT_METRICS, Scores
from pipeline.audit.metrics import acoustics
from pipeline.audit.metrics.dnsmos import dnsmos
from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from pipeline.audit.metrics.speaker_similarity import SpeakerModel, similarities
from pipeline.audit.metrics.stoi_and_pesq import pesq, stoi
from pipeline.errors import UsageError
from xy_codec.contract import Waveform

RATE_HZ = 16000
# What figures depend on.
_PACKAGES = (
    "xytok",
    "numpy",
    "scipy",
    "pesq",
    "speechmos",
    "onnxruntime",
    "kaldi-native-fbank",
    "torch",
    "transformers",
)
Figures = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairScores:
    """The metrics of a pair, the reasons of the missing ones, the seconds of each group."""

    scores: Scores
    reasons: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def missing(cls, reason: Reason) -> "PairScores":
        """A pair of which nothing could be measured."""
        return cls(Scores(), dict.fromkeys(METRIC_NAMES, reason.value))

    def with_sim(self, found: float | Reason, seconds: float) -> "PairScores":
        """These with a SIM that was measured elsewhere."""
        reasons = {name: why for name, why in self.reasons.items() if name != "sim"}
        if isinstance(found, Reason):
            reasons["sim"] = found.value
        sim = None if isinstance(found, Reason) else found
        spent = {**self.seconds, "sim": seconds}
        return PairScores(replace(self.scores, sim=sim), reasons, spent)


class _Pair:
    """Both sides at 16 kHz and of equal length."""

    def __init__(self, original: Waveform, reconstruction: Waveform, speaker: SpeakerModel | None):
        self.original = original
        self.reconstruction = reconstruction
        self.speaker = speaker

    @cached_property
    def pitches(self) -> tuple[acoustics.Pitch, acoustics.Pitch]:
        """F0 of either side."""
        return acoustics.pitch_hz(self.original), acoustics.pitch_hz(self.reconstruction)


# Whatever is asked for: without it silence could not be told from speech.
_ALWAYS = "silence"


@dataclass(frozen=True, slots=True)
class _Measurement:
    """One function and the figures it gives; all of them are missing when it is not defined."""

    group: str
    names: tuple[str, ...]
    measure: Callable[[_Pair], Figures]


def score_pair(
    original: Waveform,
    reconstruction: Waveform,
    rate_hz: int = RATE_HZ,
    *,
    groups: tuple[str, ...] | None = None,
    speaker: SpeakerModel | None = None,
) -> PairScores:
    """Every metric of two waveforms of one rate; the longer one is cut after lengths are compared.

    Args:
        groups: some of `GROUPS`, all without it; the figures of others get the reason `not_asked`.
        speaker: the model for SIM, which is `not_asked` without one.
    """
    length_difference = (len(reconstruction) - len(original)) / rate_hz
    length = min(len(original), len(reconstruction))
    left, right = (_at_16_khz(side[:length], rate_hz) for side in (original, reconstruction))
    pair = _Pair(left, right, speaker)
    fault = _fault(pair)
    figures: dict[str, float] = {"length_difference_seconds": length_difference}
    # What is said is heard by whoever holds a recogniser.
    reasons: dict[str, str] = dict.fromkeys(TEXT_METRICS, Reason.NOT_ASKED.value)
    seconds: dict[str, float] = {}
    for measurement in _MEASUREMENTS:
        started = time.perf_counter()
        asked = groups is None or measurement.group in (*groups, _ALWAYS)
        try:
            _refuse(fault if asked else Reason.NOT_ASKED)
            values = zip(measurement.names, measurement.measure(pair), strict=True)
            figures |= {name: value for name, value in values if np.isfinite(value)}
        except NotMeasurable as missing:
            reasons |= dict.fromkeys(measurement.names, missing.reason.value)
        spent = time.perf_counter() - started
        seconds[measurement.group] = seconds.get(measurement.group, 0.0) + spent
    for name in METRIC_NAMES:
        if name not in figures:
            reasons.setdefault(name, Reason.NON_FINITE.value)
    return PairScores(Scores(**figures), reasons, seconds)


def check_groups(groups: str | None) -> tuple[str, ...]:
    """The groups of a comma-separated option; the usual ones without one."""
    if groups is None:
        return USUAL_GROUPS
    asked = {word.strip() for word in groups.split(",")} - {""}
    unknown = sorted(asked - set(GROUPS))
    if unknown or not asked:
        raise UsageError(
            f"`--metrics {groups}` names no metric: {', '.join(unknown) or 'nothing'}; "
            f"expected some of `{','.join(GROUPS)}`. Leave the option out for "
            f"`{','.join(USUAL_GROUPS)}`."
        )
    return tuple(name for name in GROUPS if name in asked)


def metric_versions() -> dict[str, str]:
    """The packages that figures depend on, and their versions; without those not installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _at_16_khz(waveform: Waveform, rate_hz: int) -> Waveform:
    samples = np.ascontiguousarray(waveform, dtype=np.float32)
    if rate_hz == RATE_HZ:
        return samples
    from xy_codec.audio import resample

    return resample(samples, rate_hz, RATE_HZ)


def _fault(pair: _Pair) -> Reason | None:
    if len(pair.original) == 0:
        return Reason.TOO_SHORT
    if not (np.isfinite(pair.original).all() and np.isfinite(pair.reconstruction).all()):
        return Reason.NON_FINITE
    return None


def _refuse(fault: Reason | None) -> None:
    if fault is not None:
        raise NotMeasurable(fault)


def _sim(pair: _Pair) -> Figures:
    if pair.speaker is None:
        raise NotMeasurable(Reason.NOT_ASKED)
    (found,) = similarities(pair.speaker, [(pair.original, pair.reconstruction)])
    if isinstance(found, Reason):
        raise NotMeasurable(found)
    return (found,)


def _of_pair(group: str, name: str, measure: Callable[[Waveform, Waveform], float]) -> _Measurement:
    return _Measurement(group, (name,), lambda pair: (measure(pair.original, pair.reconstruction),))


def _of_pitches(
    name: str, measure: Callable[[acoustics.Pitch, acoustics.Pitch], float]
) -> _Measurement:
    return _Measurement("acoustics", (name,), lambda pair: (measure(*pair.pitches),))


def _each_side(
    group: str, pattern: str, measure: Callable[[Waveform], Figures]
) -> tuple[_Measurement, _Measurement]:
    """The same measurement of either side alone."""
    names = tuple(name for name in METRIC_NAMES if name.startswith(pattern))
    return (
        _Measurement(
            group,
            tuple(name for name in names if "_original" in name),
            lambda pair: measure(pair.original),
        ),
        _Measurement(
            group,
            tuple(name for name in names if "_reconstruction" in name),
            lambda pair: measure(pair.reconstruction),
        ),
    )


_MEASUREMENTS: tuple[_Measurement, ...] = (
    _Measurement("sim", ("sim",), _sim),
    _of_pair("stoi", "stoi", stoi),
    _of_pair("pesq", "pesq_nb", partial(pesq, band="nb")),
    _of_pair("pesq", "pesq_wb", partial(pesq, band="wb")),
    _of_pair("acoustics", "log_mel_distance_db", acoustics.log_mel_distance_db),
    _of_pitches("f0_error_cents", acoustics.f0_error_cents),
    _of_pitches("f0_shift_cents", acoustics.f0_shift_cents),
    _of_pitches("voicing_agreement", acoustics.voicing_agreement),
    _of_pair("acoustics", "gain_db", acoustics.gain_db),
    *_each_side("acoustics", "level_", lambda side: (acoustics.level_db(side),)),
    *_each_side("acoustics", "clipped_", lambda side: (acoustics.clipped_share(side),)),
    *_each_side(_ALWAYS, "silent_", lambda side: (acoustics.silent_share(side),)),
    *_each_side("dnsmos", "dnsmos_", dnsmos),
)
# What `--metrics` takes.
GROUPS: tuple[str, ...] = tuple(
    dict.fromkeys(each.group for each in _MEASUREMENTS if each.group != _ALWAYS)
)
# DNSMOS is most of the cost of all of them together, so it is measured on demand.
USUAL_GROUPS: tuple[str, ...] = tuple(name for name in GROUPS if name != "dnsmos")
