"""The catalogue of faults, each with its verdict and advice; and which one differing codes show.

A change of the audio before the codec moves the first codebook of a frame and everything after it;
damage after the codec hits single codes. That difference, shifts, lengths, constant codebooks and
the hypotheses that were re-encoded tell the causes of differing codes apart: clip by clip, then the
fault of a shard.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audit.findings import SIDE_ROUNDING, ClipFinding, Drift
from pipeline.audit.judge.judgement import Fault, Verdict
from pipeline.plural import plural

_REDO = "Delete the manifests of these shards and run `xytok tokenize` again with this checkpoint"
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


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault, in the words of the report."""

    name: str
    verdict: Verdict
    meaning: str
    advice: str


_KINDS = (
    FaultKind(
        "missing rows",
        "broken",
        "The part holds other rows than its manifest promises.",
        f"{_REDO}; do not train on the rest before.",
    ),
    FaultKind(
        "damaged shard",
        "broken",
        "Part, manifest and source do not fit together.",
        f"Look at the problems listed for the shard. {_REDO}.",
    ),
    FaultKind(
        "damaged codes",
        "broken",
        "Codes have the wrong shape or values no codebook has.",
        f"{_REDO}; a trainer would crash or learn rubbish from these rows.",
    ),
    FaultKind(
        "wrong length",
        "broken",
        "Rows have more or fewer frames than their audio.",
        f"{_REDO}; text and codes would not belong together.",
    ),
    FaultKind(
        "zeroed codebooks",
        "broken",
        "Whole codebooks hold one value only, so most of the sound is gone.",
        f"Check what wrote or converted these parts. {_REDO}.",
    ),
    FaultKind(
        "swapped codes",
        "broken",
        "Rows carry the codes of other clips: text and codes do not belong together.",
        f"{_REDO}; until then leave these shards out.",
    ),
    FaultKind(
        "stuck frames",
        "broken",
        "Rows repeat one frame over and over where the audio does not.",
        f"{_REDO}.",
    ),
    FaultKind(
        "wrong checkpoint",
        "drift",
        "The codes are not what this checkpoint gives for this audio.",
        "Find the checkpoint that made these shards, or tokenize them again; codes of two "
        "checkpoints must never be mixed in one training set.",
    ),
    FaultKind(
        "changed resampler",
        "drift",
        "The codes come from audio that was resampled or decoded differently.",
        f"Compare the package versions of both machines. {_REDO} to have one path for all data.",
    ),
    FaultKind(
        "shifted offset",
        "drift",
        "The codes are right but start at another frame.",
        f"{_REDO}; alignments of text and audio would be off by the shift.",
    ),
    FaultKind(
        "scattered flips",
        "drift",
        "Single codes differ here and there, in all codebooks alike.",
        "Where a part has another checksum than its manifest says, that is listed as damage. Where "
        "it has not, the codes were so when they were written: compare the versions of torch and "
        f"the machines. {_REDO}.",
    ),
    FaultKind(
        "other side values",
        "drift",
        "The values beside the codes are not what this codec gives for this audio.",
        f"They are part of how a clip sounds: look for swapped or rewritten rows. {_REDO}.",
    ),
    FaultKind(
        "gain",
        "drift",
        "The codes come from the same audio at another loudness.",
        f"Look for a normaliser before the tokenizer, or replaced originals. {_REDO}.",
    ),
    FaultKind(
        "changed source",
        "drift",
        "The originals are no longer the audio that was tokenized.",
        "Restore the originals, or tokenize again with `--redo-changed`.",
    ),
    FaultKind(
        "unexplained drift",
        "drift",
        "The codes differ from fresh ones in a way the audit has no name for.",
        f"Listen to the worst clips below. {_REDO}.",
    ),
    FaultKind(
        "silence",
        "unusual content",
        "Many clips hold almost no sound.",
        "Filter silent clips out before training; look at how this shard was cut.",
    ),
    FaultKind(
        "noise",
        "unusual content",
        "The recordings are noisier than the reference; that is no fault of the codes.",
        "Decide by ear: keep for robustness, or drop by DNSMOS before training.",
    ),
    FaultKind(
        "other content",
        "unusual content",
        "The audio is harder for the codec than the reference; that is no fault of the codes.",
        "Listen to the worst clips below and decide whether you want this data.",
    ),
    FaultKind(
        "unlike codes",
        "unusual content",
        "The codes of the shard follow each other as those of no other shard of its language do.",
        "Fewer bits a code: look for clips that repeat or hold still. More: look for codes of "
        "another codec, or frames out of order; or for speech that is unlike the other shards'.",
    ),
    FaultKind(
        "duplicate clips",
        "unusual content",
        "The same audio, codes or key occur more than once.",
        "Drop duplicates before training: by `audio_xxh64`, and by equal codes where bytes differ.",
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}


def fault(name: str, evidence: str, num_clips: int = 0) -> Fault:
    """A fault of the catalogue with its evidence."""
    return Fault(name, KINDS[name].verdict, evidence, num_clips)


def flip_rate(drift: Drift) -> float:
    """The share of differing codes over all codebooks; a missing frame differs in every one."""
    num_codebooks = max(len(drift.differing_codes), 1)
    longest = max(drift.stored_frames, drift.fresh_frames, 1)
    missing = (longest - drift.compared_frames) * num_codebooks
    return (sum(drift.differing_codes) + missing) / (longest * num_codebooks)


def flip_rates(clips: Sequence[ClipFinding]) -> tuple[float, ...]:
    """The share of differing codes per codebook over drawn clips; empty without one."""
    drawn = [(clip.weight, clip.drift) for clip in clips if clip.drawn and clip.drift is not None]
    if not drawn:
        return ()
    frames = sum(weight * drift.compared_frames for weight, drift in drawn)
    differing = np.sum(
        [weight * np.array(drift.differing_codes) for weight, drift in drawn], axis=0
    )
    return tuple(float(count) / (frames or 1) for count in differing)


def is_silence(clips: Sequence[ClipFinding], stuck: Collection[int]) -> bool:
    """Whether rows that repeat a frame do so because their audio does, by those encoded again."""
    rows = set(stuck)
    heard = [clip.drift for clip in clips if clip.drift and clip.row in rows]
    return bool(heard) and all(drift.equal for drift in heard)


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
