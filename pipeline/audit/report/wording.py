"""The verdict in sentences: may one train on this data, why, and what to do next.

Also counts and figures as people read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from pipeline.audit.findings import LABELS
from pipeline.audit.judge.faults import KINDS
from pipeline.audit.judge.judgement import Judgement, ShardVerdict, Verdict
from pipeline.plural import plural

_SHOWN_SHARDS = 6

MEANINGS: dict[Verdict, str] = {
    "ok": "codes belong to their audio, and the shard sounds as its reference does",
    "cannot judge": "too little was measured, or there is too little to compare with",
    "unusual content": "codes are right, the recordings are not like the reference",
    "drift": "codes are not what this codec gives for this audio",
    "broken": "rows are damaged, missing or belong to other clips",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do next, and the shards it is about."""

    title: str
    meaning: str
    advice: str
    shards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer at the top of the page."""

    answer: str
    reason: str


def number(value: float, digits: int = 3) -> str:
    """A figure in few digits and at most three decimals, as people read it."""
    if not isfinite(value):
        return "–"
    if abs(value) < 0.0005:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{min(places, 3)}f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference as people read it; one that rounds to nothing has no sign."""
    text = number(value)
    return f"+{text}" if value > 0 and text != "0" else text


def headline(judgement: Judgement) -> Headline:
    """Whether to train on this data, and why, in two sentences."""
    total = len(judgement.shards)
    bad = judgement.count("broken") + judgement.count("drift")
    unusual = judgement.count("unusual content")
    if total == 0:
        return Headline("Nothing to judge yet", "No finished shard was found in this output.")
    if bad == total:
        return Headline("Do not train on this data", _bad_reason(judgement))
    if bad:
        reason = _bad_reason(judgement)
        if unusual:
            reason += f" Listen to {plural(unusual, 'unusual shard')} before you train."
        unclear = judgement.count("cannot judge")
        if unclear:
            reason += f" {plural(unclear, 'shard')} cannot be judged."
        return Headline(
            f"Leave {plural(bad, 'shard')} out" + ("" if unclear else f", use the {total - bad:,}"),
            reason,
        )
    if unusual or judgement.verdict == "unusual content":
        which = plural(unusual, "shard") if unusual else "the whole run"
        return Headline(f"Listen to {which} first, then train", _unusual_reason(judgement))
    if judgement.verdict == "cannot judge":
        return _unclear(judgement)
    if judgement.codes_only:
        return Headline(
            "The codes are right", f"{_codes_reason(judgement)}. The sound was not judged."
        )
    answer = "The codes are right, and no shard sounds worse"
    if not any(shard.num_compared for shard in judgement.shards):
        answer = "No shard sounds worse; codes were not compared"
    return Headline(answer, f"{_codes_reason(judgement)}. Compared with {judgement.reference}.")


def _unclear(judgement: Judgement) -> Headline:
    total = len(judgement.shards)
    reasons = list(judgement.doubts)
    if judgement.unread:
        unread = len(judgement.unread)
        which = "the" if unread == total else "some"
        reasons.insert(0, f"{unread:,} of {plural(total, 'tar')} cannot be read")
        return Headline(f"Cannot judge: {which} originals are out of reach", _sentences(reasons))
    codes = [shard for shard in judgement.shards if shard.codes == "cannot judge"]
    content = [shard for shard in judgement.shards if shard.content == "cannot judge"]
    reasons += _doubt_counts(judgement)
    if codes or judgement.codes_only:
        return Headline("Cannot judge these codes", _sentences(reasons))
    if content and any(shard.num_compared for shard in judgement.shards):
        reasons.insert(0, _codes_reason(judgement))
        return Headline("The codes are right; the sound cannot be judged", _sentences(reasons))
    return Headline("Cannot judge how this sounds", _sentences(reasons))


def _doubt_counts(judgement: Judgement) -> list[str]:
    """Every kind of doubt with the number of its shards, most frequent first."""
    counts: dict[str, list[str]] = {}
    for shard in judgement.shards:
        for doubt in shard.doubts:
            counts.setdefault(doubt, []).append(shard.shard)
    ordered = sorted(counts.items(), key=lambda item: -len(item[1]))
    told = [f"{doubt} ({shard_list(shards, 2)})" for doubt, shards in ordered[:3]]
    more = len(ordered) - len(told)
    return told + ([f"{plural(more, 'other reason')} in the table of shards"] if more else [])


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in parts)


def _bad_reason(judgement: Judgement) -> str:
    names: dict[str, int] = {}
    for shard in judgement.shards:
        for fault in shard.faults:
            if fault.verdict in ("broken", "drift"):
                names[fault.name] = names.get(fault.name, 0) + 1
    found = ", ".join(f"{name} ({plural(count, 'shard')})" for name, count in names.items())
    return f"Found: {found}."


def _unusual_reason(judgement: Judgement) -> str:
    compared = any(shard.num_compared for shard in judgement.shards)
    belong = "All sampled codes belong to their audio, but the" if compared else "The"
    damage = "" if compared else " Codes were not compared with fresh ones."
    return (
        f"{belong} recordings are not like the reference. Whether you want them is for you to "
        f"decide.{damage}"
    )


def _codes_reason(judgement: Judgement) -> str:
    compared = sum(shard.num_compared for shard in judgement.shards)
    equal = compared - sum(shard.num_differing for shard in judgement.shards)
    if not compared:
        return "Nothing wrong was found in the tokens; no clip was encoded again"
    if equal == compared:
        return f"All {plural(compared, 're-encoded clip')} give exactly the stored codes"
    odd = [clip for shard in judgement.shards for clip in shard.odd_clips]
    named = "".join(f"; {clip}" for clip in odd[:1])
    named += f", and {plural(len(odd) - 1, 'clip')} more like it" if odd[1:] else ""
    return (
        f"{equal:,} of {plural(compared, 're-encoded clip')} give exactly the stored codes, the "
        f"others sound like fresh codes within the margin{named}"
    )


def next_steps(judgement: Judgement) -> tuple[Step, ...]:
    """What to do, one step per kind of fault, worst first."""
    shards: dict[str, list[str]] = {}
    for shard in judgement.shards:
        for fault in shard.faults:
            shards.setdefault(fault.name, []).append(shard.shard)
    order = [name for name in KINDS if name in shards]
    steps = [
        Step(name, KINDS[name].meaning, KINDS[name].advice, tuple(shards[name])) for name in order
    ]
    return (*steps, *_run_steps(judgement))


def _run_steps(judgement: Judgement) -> list[Step]:
    steps = []
    for group in judgement.groups:
        if group.unusual and group.level != "DNSMOS":
            name = "the whole run" if group.level == "run" else f"{group.level} {group.name}"
            steps.append(
                Step(
                    f"{name}: unlike the baseline",
                    "Worse than the baseline in "
                    + ", ".join(LABELS[name] for name in group.unusual)
                    + ".",
                    "Listen to its worst clips, or compare with a baseline of the same material.",
                )
            )
    steps += _unmeasured_steps(judgement)
    if not steps and judgement.exit_code == 0:
        steps.append(
            Step(
                "train",
                "Nothing was found that speaks against it.",
                "Listen to a few clips below: whether this codec is good enough is yours to say. "
                "Save a run of ten shards or more as a baseline with `--save-baseline` to judge "
                "the next one.",
            )
        )
    return steps


def _unmeasured_steps(judgement: Judgement) -> list[Step]:
    again = (
        "Audit again when this is mended; where a sample was too small, with more clips a shard "
        "(`--per-shard`)."
    )
    steps = [
        Step("not measured", f"{doubt[0].upper()}{doubt[1:]}.", again) for doubt in judgement.doubts
    ]
    unread = set(judgement.unread)
    if unread:
        steps.append(
            Step(
                "originals out of reach",
                "The tars these shards were made from cannot be read, so nothing was heard.",
                "Where they moved, say so with `--source-map OLD=NEW`; for another account or "
                "endpoint pass `--storage-options`.",
                judgement.unread,
            )
        )
    unclear = [each for each in judgement.shards if each.doubts and each.shard not in unread]
    codes = tuple(each.shard for each in unclear if each.codes == "cannot judge")
    content = tuple(
        each.shard for each in unclear if each.content == "cannot judge" and each.shard not in codes
    )
    if codes:
        steps.append(
            Step(
                "codes not judged",
                "Too few clips of these shards could be encoded again, or codes differ and too "
                "few were heard; the table of shards says which. Originals in a compressed tar "
                "cannot be read by their place.",
                f"Audit again with `--per-shard {2 * max(judgement.thresholds.min_clips, 8)}` or "
                "more and with SIM and STOI among the `--metrics`; from a compressed tar, make a "
                "copy as plain tars (`--source-map OLD=NEW`).",
                codes,
            )
        )
    if content:
        steps.append(
            Step(
                "sound not judged",
                "These shards have too few others of their language to be compared with, or too "
                "few measured clips.",
                "Give a `--baseline` with their languages, audit more shards together, or ask for "
                "`--codes-only`.",
                content,
            )
        )
    return steps


def shard_list(shards: Sequence[str], most: int = _SHOWN_SHARDS) -> str:
    """The first few shards by name and how many more there are."""
    shown = ", ".join(shards[:most])
    more = len(shards) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def worst_first(judgement: Judgement) -> list[ShardVerdict]:
    """Shards ordered from broken to ok, by name within a verdict."""
    rank = {"broken": 0, "drift": 1, "unusual content": 2, "cannot judge": 3, "ok": 4}
    return sorted(judgement.shards, key=lambda shard: (rank[shard.verdict], shard.shard))
