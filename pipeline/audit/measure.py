"""Measures shards: reading, the codec and the scores at the same time, findings as they are ready.

Three stages with bounded queues between them: one thread reads shards ahead, one runs the codec
and what else is on its device, and the caller's thread feeds the processes that score.
"""

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from pipeline.audit.codes.shard_audit import (
    ClipMaterial,
    ShardAudit,
    ShardAuditSettings,
    ShardMaterial,
    ShardSource,
    read_shard,
)
from pipeline.audit.codes.token_checks import CheckedPart
from pipeline.audit.findings import CLIP_FACTS, TEXT_METRICS, ClipFinding, Scores
from pipeline.audit.metrics.heard_text import text_scores
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.metrics.score_pool import Pair, ScorePool
from pipeline.audit.metrics.scores import PairScores
from pipeline.audit.metrics.speaker_similarity import SpeakerModel, similarities
from pipeline.output.manifest import Manifest
from xy_codec.contract import Waveform

# Shards read ahead, and pairs decoded ahead: enough to keep every stage busy.
_SHARDS_AHEAD = 3
_PAIRS_AHEAD = 64
_POLL_SECONDS = 0.2
T = TypeVar("T")


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
    # What a speaker model on the device found, and its seconds a pair; empty where processes do.
    sims: dict[tuple[int, str], float | Reason]
    sim_seconds: float
    scored: dict[tuple[int, str], PairScores] = field(default_factory=dict)


def measure_shards(
    manifests: Iterable[Manifest],
    settings: ShardAuditSettings,
    audit: ShardAudit,
    pool: ScorePool,
    speaker: SpeakerModel | None = None,
) -> Iterator[ShardFindings]:
    """Findings of every shard, in the order in which they are complete.

    Args:
        speaker: measures SIM here, a shard at a time, where the pool does not.
    """
    sim_name = speaker.name if speaker else pool.sim_name
    opened: dict[int, _OpenShard] = {}
    sources = _Ahead((read_shard(settings, each) for each in manifests), _SHARDS_AHEAD)
    pairs = _Ahead(_pairs(sources, audit, opened, speaker), _PAIRS_AHEAD)
    try:
        for (number, clip, side), scores in pool.scores(pairs):
            shard = opened[number]
            if (clip, side) in shard.sims:
                scores = scores.with_sim(shard.sims[clip, side], shard.sim_seconds)
            shard.scored[clip, side] = scores
            shard.missing -= 1
            if not shard.missing:
                yield _findings(opened.pop(number), sim_name)
        # What is left had nothing to score.
        for shard in opened.values():
            yield _findings(shard, sim_name)
    finally:
        sources.close()
        pairs.close()


def _pairs(
    sources: Iterable[ShardSource],
    audit: ShardAudit,
    opened: dict[int, _OpenShard],
    speaker: SpeakerModel | None,
) -> Iterator[Pair[Tag]]:
    for number, source in enumerate(sources):
        material = audit.material(source)
        sides = [
            Pair((number, index, name), original, sound)
            for index, clip in enumerate(material.clips)
            for name, original, sound in _sides(clip)
        ]
        started = time.perf_counter()
        found = _similarities(speaker, sides) if speaker else {}
        spent = (time.perf_counter() - started) / max(len(sides), 1)
        opened[number] = _OpenShard(material, len(sides), found, spent)
        yield from sides


def _similarities(
    speaker: SpeakerModel, pairs: Sequence[Pair[Tag]]
) -> dict[tuple[int, str], float | Reason]:
    found = similarities(speaker, [(pair.original, pair.reconstruction) for pair in pairs])
    return {pair.tag[1:]: sim for pair, sim in zip(pairs, found, strict=True)}


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


class _End:
    """The last item: nothing more comes, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    """An iterator worked off by a thread of its own, a bounded number of items ahead of its reader.

    `close` stops the thread, read to the end or not.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return

    def close(self) -> None:
        """Stop working ahead and wait for the item under way."""
        self._stopped.set()
        self._thread.join()

    def _work(self, items: Iterable[T]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as caught:
            error = caught
        self._put(_End(error))

    def _put(self, item: "T | _End") -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
