"""The verdict in sentences: may one train on this data, why, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.audit.findings import METRICS
from pipeline.audit.judge.faults import KINDS
from pipeline.audit.judge.judgement import Judgement, ShardVerdict, Verdict

_SHOWN_SHARDS = 6
_LABELS = {metric.name: metric.label for metric in METRICS}

MEANINGS: dict[Verdict, str] = {
    "ok": "codes belong to their audio and sound as they should",
    "too few clips": "not enough clips were measured to say anything",
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


def plural(count: int, noun: str) -> str:
    """A count with its noun, as `1 shard` or `2,000 shards`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def headline(judgement: Judgement) -> Headline:
    """Whether to train on this data, and why, in two sentences."""
    total = len(judgement.shards)
    bad = judgement.count("broken") + judgement.count("drift")
    unusual, few = judgement.count("unusual content"), judgement.count("too few clips")
    if total == 0:
        return Headline("Nothing to judge yet", "No finished shard was found in this output.")
    if bad == total:
        return Headline("Do not train on this data", _bad_reason(judgement))
    if bad:
        reason = _bad_reason(judgement)
        if unusual:
            reason += f" Listen to {plural(unusual, 'unusual shard')} before you train."
        return Headline(
            f"Leave {plural(bad, 'shard')} out, train on the other {total - bad:,}", reason
        )
    if unusual or judgement.verdict == "unusual content":
        which = plural(unusual, "shard") if unusual else "the whole run"
        return Headline(f"Listen to {which} first, then train", _unusual_reason(judgement))
    if judgement.unread:
        which = "The" if len(judgement.unread) == total else "Some"
        return Headline(
            f"{which} originals are out of reach",
            f"Of {plural(total, 'tar')} {len(judgement.unread):,} cannot be read, so their shards "
            "were not heard. Nothing wrong was seen in the tokens, nor in what was heard.",
        )
    if 2 * few > total:
        return Headline(
            "Too few clips to say",
            f"Nothing wrong was seen, but only {total - few:,} of {plural(total, 'shard')} have "
            "enough measured clips. Audit again with a larger `--per-shard`.",
        )
    if judgement.sounds_poor:
        return Headline(
            "The codes are right, but they sound poor",
            f"{_good_reason(judgement)} Yet their mean STOI is "
            f"{judgement.run_changes['stoi'].mean.estimate:.2f}: speech is hardly intelligible.",
        )
    return Headline("Good to train on", _good_reason(judgement))


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


def _good_reason(judgement: Judgement) -> str:
    few = judgement.count("too few clips")
    unsure = f" {plural(few, 'shard')} had too few measured clips to judge." if few else ""
    return _good_of_measured(judgement) + unsure


def _good_of_measured(judgement: Judgement) -> str:
    compared = sum(shard.num_compared for shard in judgement.shards)
    equal = compared - sum(shard.num_differing for shard in judgement.shards)
    if not compared:
        return "Nothing wrong was found in the tokens or in the sound of the sampled clips."
    same = (
        f"all {equal:,} re-encoded clips give exactly the stored codes"
        if equal == compared
        else f"none of {compared:,} re-encoded clips differs from its stored codes by more than "
        "another platform or precision explains"
    )
    sound = (
        "and they sound as the baseline does."
        if judgement.has_baseline
        else "and no shard sounds unlike the others. No baseline was given: judge by ear as well."
    )
    return f"No shard stands out: {same}, {sound}"


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
                    + ", ".join(_LABELS[name] for name in group.unusual)
                    + ".",
                    "Listen to its worst clips, or compare with a baseline of the same material.",
                )
            )
    steps += _unmeasured_steps(judgement)
    if judgement.sounds_poor:
        steps.append(
            Step(
                "poor sound",
                "The codec itself loses most of this speech: stored and fresh codes are alike.",
                "Listen to the clips below; check that this is the checkpoint you meant, and that "
                "it was trained.",
            )
        )
    if not steps and judgement.exit_code == 0:
        steps.append(
            Step(
                "train",
                "Nothing was found that speaks against it.",
                "Keep this page with the data; save it as a baseline with `--save-baseline` "
                "to judge the next run.",
            )
        )
    return steps


def _unmeasured_steps(judgement: Judgement) -> list[Step]:
    steps, unread = [], set(judgement.unread)
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
    few = [shard.shard for shard in judgement.shards if shard.verdict == "too few clips"]
    few = [shard for shard in few if shard not in unread]
    if few:
        steps.append(
            Step(
                "too few clips",
                "Fewer clips were measured in these shards than a verdict needs.",
                f"Audit again with `--per-shard {2 * judgement.thresholds.min_clips}` or more; "
                "the reasons for missing figures are listed at the end.",
                tuple(few),
            )
        )
    return steps


def shard_list(shards: Sequence[str]) -> str:
    """The first few shards by name and how many more there are."""
    shown = ", ".join(shards[:_SHOWN_SHARDS])
    more = len(shards) - _SHOWN_SHARDS
    return f"{shown} and {more:,} more" if more > 0 else shown


def worst_first(judgement: Judgement) -> list[ShardVerdict]:
    """Shards ordered from broken to ok, by name within a verdict."""
    rank = {"broken": 0, "drift": 1, "unusual content": 2, "too few clips": 3, "ok": 4}
    return sorted(judgement.shards, key=lambda shard: (rank[shard.verdict], shard.shard))
