"""Why stored codes differ from fresh ones: the cause clip by clip, then the fault of a shard.

A change of the audio before the codec moves the first codebook of a frame and everything after it;
damage after the codec hits single codes. That difference, shifts, lengths, constant codebooks and
the hypotheses that were re-encoded tell the causes apart.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.audit.findings import SIDE_ROUNDING, ClipFinding, Drift
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.judgement import Fault
from pipeline.errors import plural

_EXPLAINED = {
    "gain": "gain",
    "resampler": "changed resampler",
    "codes of another": "swapped codes",
    "shift": "shifted offset",
    "offset": "shifted offset",
}
# Codes that agree by chance alone; a first codebook below this shares nothing with the audio.
_UNRELATED_AGREEMENT = 0.3
# Codes differing per differing frame, over what independent flips would give.
_CASCADE = 1.5
# Drops of paired metrics that a resampler does not cause and foreign codes do.
_FOREIGN_STOI = -0.05
_FOREIGN_LOG_MEL_DB = 2.0
_MOST = 0.5
# Clips of a shard for which the audit tries to explain the difference.
_TRIED = 4


def flip_rate(drift: Drift) -> float:
    """The share of differing codes over all codebooks; a missing frame differs in every one."""
    num_codebooks = max(len(drift.differing_codes), 1)
    longest = max(drift.stored_frames, drift.fresh_frames, 1)
    missing = (longest - drift.compared_frames) * num_codebooks
    return (sum(drift.differing_codes) + missing) / (longest * num_codebooks)


def flip_rates(clips: Sequence[ClipFinding]) -> tuple[float, ...]:
    """The share of differing codes per codebook over all re-encoded clips; empty without one."""
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    if not drifts:
        return ()
    frames = max(sum(drift.compared_frames for drift in drifts), 1)
    differing = np.sum([drift.differing_codes for drift in drifts], axis=0)
    return tuple(float(count) / frames for count in differing)


def cause_of(drift: Drift, allowed_rate: float = 0.0) -> str | None:
    """The cause of one clip's drift; None for a clip whose codes are its own.

    Args:
        allowed_rate: the flip rate a clip may have on another platform or precision than the run's.
    """
    is_near = drift.stored_frames == drift.fresh_frames and _within(drift, allowed_rate)
    # Codes of another platform may flip; side values only round.
    if drift.equal or (is_near and drift.side_error <= SIDE_ROUNDING):
        return None
    if is_near:
        return "other side values"
    if drift.constant_codebooks:
        return "zeroed codebooks"
    if drift.explained_by:
        known = (name for word, name in _EXPLAINED.items() if drift.explained_by.startswith(word))
        return next(known, "unexplained drift")
    if drift.same_audio is False:
        return "changed source"
    if drift.best_shift_frames:
        return "shifted offset"
    if _is_scattered(drift):
        return "scattered flips"
    if _first_agreement(drift) < _UNRELATED_AGREEMENT:
        return "unrelated"
    return "changed audio"


def _within(drift: Drift, allowed_rate: float) -> bool:
    # Few frames make a rate coarse, so a clip may have three standard errors more.
    codes = max(drift.compared_frames * len(drift.differing_codes), 1)
    return flip_rate(drift) <= allowed_rate + 3 * float(np.sqrt(allowed_rate / codes))


def _first_agreement(drift: Drift) -> float:
    return 1 - drift.differing_codes[0] / max(drift.compared_frames, 1)


def _is_scattered(drift: Drift) -> bool:
    """Whether codes differ independently of each other, as damage after the codec does."""
    num_codebooks, frames = len(drift.differing_codes), max(drift.compared_frames, 1)
    rate = sum(drift.differing_codes) / (frames * num_codebooks)
    if abs(drift.stored_frames - drift.fresh_frames) > 0 or rate > 0.3:
        return False
    independent_frames = frames * (1 - (1 - rate) ** num_codebooks)
    expected = sum(drift.differing_codes) / independent_frames
    observed = sum(drift.differing_codes) / max(drift.differing_frames, 1)
    # With one or two differing codes the ratio says little; a cascade shows from the deeper half.
    return observed <= _CASCADE * expected


def drift_faults(clips: Sequence[ClipFinding], allowed_rate: float) -> tuple[Fault, ...]:
    """The faults that explain the drifting clips of one shard, most frequent first."""
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    members: dict[str, list[Drift]] = {}
    for drift in drifts:
        cause = cause_of(drift, allowed_rate)
        if cause:
            members.setdefault(cause, []).append(drift)
    main = _main_cause(members, len(drifts))
    if main:
        members = {main: [drift for group in members.values() for drift in group]}
    found = [_described(cause, group, len(drifts)) for cause, group in members.items()]
    return tuple(sorted(found, key=lambda item: (-item.num_clips, item.name)))


def _main_cause(members: Mapping[str, Sequence[Drift]], num_compared: int) -> str | None:
    """The cause of a whole shard: it looks different on a few clips, which are no second fault."""
    drifting = sum(len(group) for group in members.values())
    explained = {
        cause: sum(drift.explained_by is not None for drift in group)
        for cause, group in members.items()
    }
    # Only a few clips of a shard are explained; they speak for the rest when most of them agree.
    named = max(explained, key=lambda cause: explained[cause], default=None)
    if named and 2 * explained[named] >= min(_TRIED, drifting):
        return named
    most = max(members, key=lambda cause: len(members[cause]), default=None)
    return most if most and len(members[most]) > _MOST * num_compared else None


def _fault_name(cause: str, drifts: Sequence[Drift], share: float) -> str:
    """The fault behind a cause; for codes that fit nothing, how many clips they hit decides."""
    if cause == "unrelated" and share < _MOST:
        return "swapped codes"
    if cause == "unrelated":
        return "changed resampler" if _stretched(drifts) else "wrong checkpoint"
    if cause == "changed audio":
        return "wrong checkpoint" if _sounds_foreign(drifts) else "changed resampler"
    return cause


def _stretched(drifts: Sequence[Drift]) -> bool:
    """Whether lengths differ by one common factor, as audio read at a wrong rate has."""
    factors = np.array([drift.stored_frames / max(drift.fresh_frames, 1) for drift in drifts])
    middle = float(np.median(factors))
    return abs(middle - 1) > 0.05 and float(np.median(np.abs(factors - middle))) < 0.02


def _sounds_foreign(drifts: Sequence[Drift]) -> bool:
    stoi = [drift.paired.stoi for drift in drifts if drift.paired.stoi is not None]
    mel = [drift.paired.log_mel_distance_db for drift in drifts]
    distances = [value for value in mel if value is not None]
    worse_stoi = bool(stoi) and float(np.mean(stoi)) < _FOREIGN_STOI
    return worse_stoi or (bool(distances) and float(np.mean(distances)) > _FOREIGN_LOG_MEL_DB)


def _described(cause: str, drifts: Sequence[Drift], num_compared: int) -> Fault:
    name = _fault_name(cause, drifts, len(drifts) / num_compared)
    rate = 100 * float(np.mean([flip_rate(drift) for drift in drifts]))
    evidence = (
        f"{len(drifts)} of {plural(num_compared, 're-encoded clip')} with other codes, "
        f"{rate:.3g} % of them"
    )
    detail = _detail(name, drifts)
    return fault(name, f"{evidence}; {detail}" if detail else evidence, len(drifts))


def _detail(name: str, drifts: Sequence[Drift]) -> str:
    if name == "zeroed codebooks":
        books = Counter(book for drift in drifts for book in drift.constant_codebooks)
        return "constant: codebook " + ", ".join(str(book + 1) for book in sorted(books))
    if name == "shifted offset":
        shift, _ = Counter(drift.best_shift_frames for drift in drifts).most_common(1)[0]
        return f"{plural(abs(shift), 'frame')} {'late' if shift > 0 else 'early'}"
    if name == "other side values":
        errors = [drift.side_error for drift in drifts]
        if not all(map(math.isfinite, errors)):
            return "side values that are not the codec's: their number, or a value, is wrong"
        return f"side values differ by up to {max(errors):.3g}"
    if name == "scattered flips":
        bits = sum(drift.one_bit_flips for drift in drifts)
        codes = sum(sum(drift.differing_codes) for drift in drifts)
        return f"{bits} of {codes} differ by a single bit"
    words = Counter(drift.explained_by for drift in drifts if drift.explained_by)
    return f"re-encoding with {words.most_common(1)[0][0]} gives these codes" if words else ""
