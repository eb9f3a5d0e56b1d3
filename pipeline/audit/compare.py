"""Measures both sides of a comparison: two runs as they are, or two checkpoints on the same shards.

Two checkpoints become two small runs first, so that there is one way to measure and to listen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.audit.audit import AuditRequest, Measure, load_codec_of, run_audit
from pipeline.audit.audited_run import open_run
from pipeline.audit.judge.comparison import ClipPair, Comparison, compare
from pipeline.audit.report.sounds import Playback, Side
from pipeline.corpus.rules import ReadRules
from pipeline.errors import InputError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, check_finished, run_tokenize
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished comparison and the sounds of its clips."""

    comparison: Comparison
    play_a: Playback
    play_b: Playback

    def sides(self, pair: ClipPair) -> list[Side] | None:
        """Original, A and B of one clip; None where they cannot be read."""
        a, b = self.play_a(pair.a), self.play_b(pair.b)
        if a is None or b is None:
            return None
        return [
            Side("Original", a.original, a.rate_hz),
            Side("A", a.reconstruction, a.rate_hz),
            Side("B", b.reconstruction, b.rate_hz),
        ]


def compare_runs(
    request: AuditRequest,
    outputs: tuple[str, str],
    labels: tuple[str, str],
    codecs: tuple[str | None, str | None],
    measure: Measure | None = None,
) -> Measured:
    """Sample the same clips of two runs, measure both, and compare.

    Args:
        codecs: what decodes either side; None finds the codec by the name in its `run.json`.
    """
    # Codes are compared with the originals only: which codec made them is the question.
    sides = [
        replace(request, output=output, codec=source, reencode=False)
        for output, source in zip(outputs, codecs, strict=True)
    ]
    # Both are opened before either is measured, so that a wrong path is told at once.
    runs = [open_run(side.storage, side.output, side.only) for side in sides]
    findings, players = [], []
    for side, run, label in zip(sides, runs, labels, strict=True):
        codec = load_codec_of(side, run)
        measured = run_audit(side, run, codec, measure)
        findings.append(replace(measured, output=label))
        players.append(Playback(run, codec, side.storage, side.source_map))
    comparison = compare(findings[0], findings[1])
    if not comparison.pairs:
        raise InputError(
            f"`{labels[0]}` and `{labels[1]}` have no sampled clip in common; expected runs over "
            "the same shards. Compare runs of the same input, or raise `--per-shard`"
        )
    return Measured(comparison, players[0], players[1])


def trial_runs(
    codecs: Sequence[CodecRequest], shards: Sequence[str], folder: str, limit: int
) -> tuple[str, ...]:
    """Tokenize the first clips of some shards with every codec; the outputs, in order."""
    outputs = tuple(f"{folder}/{'ab'[number]}" for number in range(len(codecs)))
    for codec, output in zip(codecs, outputs, strict=True):
        trial_run(codec, shards, output, Storage(), limit)
    return outputs


def trial_run(
    codec: CodecRequest, shards: Sequence[str], output: str, storage: Storage, limit: int | None
) -> None:
    """Tokenize the first clips of some shards in this process, or what is left of them."""
    rules = ReadRules(limit=limit)
    request = RunRequest(tuple(shards), output, rules, storage, Tuning(), quiet=True)
    engine = InlineEngine(codec)
    try:
        check_finished(run_tokenize(request, engine), allow_damaged=True)
    finally:
        engine.close()
