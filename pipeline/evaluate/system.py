"""One codec with all that was measured of it, and all of them on the clips that they share."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pipeline.audit.findings import ClipAudio, ClipFinding
from pipeline.audit.judge.inference import Interval
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.evaluate.clip_names import name_of, speaker_of
from pipeline.evaluate.intervals import mean_by_speaker
from pipeline.evaluate.probe.result import ProbeResult
from pipeline.evaluate.recognised import Heard
from pipeline.evaluate.speed import Speed
from pipeline.evaluate.transcripts import character_error_rate, word_error_rate
from pipeline.plural import plural
from xy_codec.codes_shape import CodesShape

# The figures of sound in the table, as the audit names them.
SOUND = ("sim", "stoi", "pesq_nb", "pesq_wb")


@dataclass(frozen=True, slots=True)
class System:
    """One codec or run with all that was measured of it.

    Attributes:
        clips: what the audit measured; empty for a run, of which there are only codes.
        sounds: of some clips, by their names, to be played.
        heard: what the recogniser heard of both sides.
        figures: every figure of the table that was measured, with bounds by speakers.
    """

    name: str
    is_run: bool
    codec: Mapping[str, object]
    shape: CodesShape
    sim_model: str = ""
    clips: tuple[ClipFinding, ...] = ()
    sounds: Mapping[str, ClipAudio] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    speed: Speed | None = None
    probe: ProbeResult | None = None
    figures: Mapping[str, Interval] = field(default_factory=dict)

    def scored(self, name: str) -> dict[str, float]:
        """The clips that have a value of a figure of sound, and these values."""
        found = {name_of(clip): getattr(clip.scores, name) for clip in self.clips}
        return {clip: value for clip, value in found.items() if value is not None}

    def with_figures(self, taken: Mapping[str, Collection[str]]) -> Self:
        """The same with `figures` of what it has now, those of sound of the clips in `taken`."""
        return replace(self, figures=self._figures(taken))

    def _figures(self, taken: Mapping[str, Collection[str]]) -> dict[str, Interval]:
        found = {}
        speakers = {name_of(clip): speaker_of(clip) for clip in self.clips}
        for name in SOUND:
            known = {
                clip: value for clip, value in self.scored(name).items() if clip in taken[name]
            }
            if known:
                found[name] = mean_by_speaker([*known.values()], [speakers[clip] for clip in known])
        sides = {
            "asr": self.heard.reconstructions,
            "probe": self.probe.transcripts if self.probe else (),
        }
        for name, transcripts in sides.items():
            if transcripts:
                found[f"{name}_cer"] = character_error_rate(transcripts)
            if (of_words := word_error_rate(transcripts)) is not None:
                found[f"{name}_wer"] = of_words
        return found

    def why_missing(self) -> dict[str, str]:
        """Of each figure that some clips lack: how many, and their most frequent reason."""
        found = {}
        for name in SOUND:
            lacking = [clip for clip in self.clips if getattr(clip.scores, name) is None]
            given = Counter(
                clip.reasons.get(name) or clip.reasons.get("original", "unknown")
                for clip in lacking
            )
            if given:
                reason = given.most_common(1)[0][0]
                found[name] = (
                    f"{len(lacking)} of {plural(len(self.clips), 'clip')}, mostly `{reason}`"
                )
        sides = {
            "asr_wer": self.heard.reconstructions,
            "probe_wer": self.probe.transcripts if self.probe else (),
        }
        for name, transcripts in sides.items():
            if wordless := sum(not each.has_words for each in transcripts):
                of = plural(len(transcripts), "clip")
                found[name] = f"{wordless} of {of}, mostly `{Reason.NO_WORDS.value}`"
        return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All systems, on the clips that every one of them has.

    Attributes:
        left_out: clips that were measured of some systems and not of all.
        untested: those that only some probes were tested on.
        data: the shards, without credentials, as they were named.
        limit: so many of the first clips of each shard of `data`.
    """

    systems: tuple[System, ...]
    left_out: int
    untested: int
    data: tuple[str, ...] = ()
    probe_data: tuple[str, ...] = ()
    sample: SamplePlan = field(default_factory=SamplePlan)
    limit: int | None = None

    @property
    def clips(self) -> tuple[ClipFinding, ...]:
        """The clips that sound was measured on, as the first codec's audit has them."""
        return next((system.clips for system in self.systems if system.clips), ())
