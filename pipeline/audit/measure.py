"""Measures shards: reading, the codec and the scores at the same time, findings as they are ready.

Three stages with bounded queues between them: one thread reads shards ahead, one runs the codec,
and the caller's thread feeds the processes that score.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipeline.audit.ahead import Ahead
from pipeline.audit.drift.shard_audit import ClipMaterial, ShardAudit, ShardMaterial
from pipeline.audit.findings import CLIP_FACTS, TEXT_METRICS, ClipFinding, Scores
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.metrics.score_pool import Pair, ScorePool
from pipeline.audit.metrics.scores import PairScores
from pipeline.audit.metrics.text_errors import text_scores
from pipeline.audit.sample.shard_source import ShardAuditSettings, ShardSource, read_shard
from pipeline.audit.tokens.token_checks import CheckedPart
from pipeline.output.manifest import Manifest
from xy_codec.contract import Waveform

# Shards read ahead, and pairs decoded ahead: enough to keep every stage busy.
_SHARDS_AHEAD = 3
_PAIRS_AHEAD = 64


@dataclass(frozen=True, slots=True)
class ShardFindings:
    """One measured shard."""

    checked: CheckedPart
    clips: tuple[ClipFinding, ...]


# Shard, clip in its sample, and which codes were decoded: `stored` or `fresh`.
Tag = tuple[int, int, str]


@dataclass(slots=True)
class _OpenShard:
    """A shard whose scores are still coming in."""

    material: ShardMaterial
    missing: int
    scored: dict[tuple[int, str], PairScores] = field(default_factory=dict)


def measure_shards(
    manifests: Iterable[Manifest],
    settings: ShardAuditSettings,
    audit: ShardAudit,
    pool: ScorePool,
) -> Iterator[ShardFindings]:
    """Findings of every shard, in the order in which they are complete."""
    opened: dict[int, _OpenShard] = {}
    sources = Ahead((read_shard(settings, each) for each in manifests), _SHARDS_AHEAD)
    pairs = Ahead(_pairs(sources, audit, opened), _PAIRS_AHEAD)
    try:
        for (number, clip, side), scores in pool.scores(pairs):
            shard = opened[number]
            shard.scored[clip, side] = scores
            shard.missing -= 1
            if not shard.missing:
                yield _findings(opened.pop(number), pool.sim_name)
        # What is left had nothing to score.
        for shard in opened.values():
            yield _findings(shard, pool.sim_name)
    finally:
        sources.close()
        pairs.close()


def _pairs(
    sources: Iterable[ShardSource], audit: ShardAudit, opened: dict[int, _OpenShard]
) -> Iterator[Pair[Tag]]:
    for number, source in enumerate(sources):
        material = audit.material(source)
        sides = [
            Pair((number, index, name), original, sound)
            for index, clip in enumerate(material.clips)
            for name, original, sound in _sides(clip)
        ]
        opened[number] = _OpenShard(material, len(sides))
        yield from sides


def _sides(clip: ClipMaterial) -> Iterator[tuple[str, Waveform, Waveform]]:
    for name, sound in (("stored", clip.stored), ("fresh", clip.fresh)):
        if clip.original is not None and sound is not None:
            yield name, clip.original, sound


def _findings(shard: _OpenShard, sim_name: str) -> ShardFindings:
    clips = (
        _finding(clip, shard.scored.get((index, "stored")), shard.scored.get((index, "fresh")))
        for index, clip in enumerate(shard.material.clips)
    )
    findings = tuple(replace(clip, sim_model=sim_name) for clip in clips)
    return ShardFindings(shard.material.checked, findings)


def _finding(
    material: ClipMaterial, stored: PairScores | None, fresh: PairScores | None
) -> ClipFinding:
    clip, drift = material.clip, material.drift
    stored, fresh = (
        _with_text(scored, material, side)
        for scored, side in ((stored, "stored"), (fresh, "fresh"))
    )
    if drift is not None and not drift.equal:
        paired = stored.scores.minus(fresh.scores) if stored and fresh else Scores()
        drift = replace(drift, paired=paired)
    seconds = dict(material.seconds)
    for scored in (stored, fresh):
        for name, spent in (scored.seconds if scored else {}).items():
            seconds[name] = seconds.get(name, 0.0) + spent
    return ClipFinding(
        **{name: getattr(clip, name) for name in CLIP_FACTS},
        sim_model="",
        scores=stored.scores if stored else Scores(),
        drift=drift,
        reasons={**material.reasons, **(stored.reasons if stored else {})},
        seconds=seconds,
        heard_original=material.heard.get("original"),
        heard_reconstruction=material.heard.get("stored"),
    )


def _with_text(scored: PairScores | None, material: ClipMaterial, side: str) -> PairScores | None:
    """The scores of one side with those of what was heard, where a recogniser was asked."""
    if scored is None or "asr" not in material.seconds:
        return scored
    heard = material.heard
    if side in heard and "original" in heard:
        language = material.clip.language or ""
        found, why = text_scores(material.clip.text, language, heard["original"], heard[side])
    else:
        missing = Reason.NO_LANGUAGE if material.clip.text else Reason.NO_TEXT
        found, why = {}, dict.fromkeys(TEXT_METRICS, missing.value)
    others = {name: reason for name, reason in scored.reasons.items() if name not in TEXT_METRICS}
    return replace(scored, scores=replace(scored.scores, **found), reasons={**others, **why})
