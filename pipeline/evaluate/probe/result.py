"""A probe from clips to what it found out: a transcript of every test clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.audit.metrics.heard_text import has_words
from pipeline.evaluate.probe.clips import SpokenClip
from pipeline.evaluate.probe.inputs import ProbeInput
from pipeline.evaluate.probe.plan import ProbePlan
from pipeline.evaluate.probe.training import Checkpoint, ProbeTraining
from pipeline.evaluate.transcripts import Transcript


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A trained probe on its test clips.

    Attributes:
        read: what it read: the codec's embeddings, or codes with tables of its own.
        learned_clips: those it was trained on; `left_out` had more characters than steps.
        losses: step and mean loss up to it.
    """

    read: str
    plan: ProbePlan
    learned_clips: int
    left_out: int
    transcripts: tuple[Transcript, ...]
    losses: tuple[tuple[int, float], ...]


def probe(
    source: ProbeInput,
    train: Sequence[SpokenClip],
    test: Sequence[SpokenClip],
    plan: ProbePlan,
    *,
    device: str = "cpu",
    checkpoint: Checkpoint | None = None,
    show: Callable[[int, float], None] = lambda *_: None,
) -> ProbeResult:
    """Train a probe on some clips, from its checkpoint if there is one, and test it on others."""
    training = ProbeTraining(source, train, plan, device)
    training.run(checkpoint, show)
    written = training.transcribe(test)
    transcripts = tuple(
        Transcript(clip.key, clip.speaker, clip.text, text, has_words(clip.language))
        for clip, text in zip(test, written, strict=True)
    )
    left_out = len(train) - len(training.clips)
    losses = tuple(training.losses)
    return ProbeResult(source.name, plan, len(training.clips), left_out, transcripts, losses)
