"""The table of an evaluation: its columns, and how it looks in a terminal."""

from dataclasses import dataclass
from itertools import repeat
from typing import Literal

from pipeline.audit.judge.inference import Interval
from pipeline.audit.report.wording import number
from pipeline.evaluate.clip_names import speaker_of
from pipeline.evaluate.system import Evaluation, System
from pipeline.evaluate.transcripts import character_error_rate, word_error_rate
from pipeline.plural import plural

_LONGEST_NAME = 36
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of `System.figures`."""

    name: str
    label: str
    better: Literal["higher", "lower"]


COLUMNS: tuple[Column, ...] = (
    Column("sim", "SIM", "higher"),
    Column("stoi", "STOI", "higher"),
    Column("pesq_nb", "PESQ-NB", "higher"),
    Column("pesq_wb", "PESQ-WB", "higher"),
    Column("asr_wer", "WER heard", "lower"),
    Column("asr_cer", "CER heard", "lower"),
    Column("probe_wer", "probe WER", "lower"),
    Column("probe_cer", "probe CER", "lower"),
)


def shown_columns(evaluation: Evaluation) -> tuple[Column, ...]:
    """Those that some system has."""
    figures = [system.figures for system in evaluation.systems]
    return tuple(column for column in COLUMNS if any(column.name in found for found in figures))


def bounds(interval: Interval) -> str:
    """The bounds of an estimate, or that they are not known."""
    if not interval.is_known:
        return "bounds unknown"
    return f"{number(interval.low)} to {number(interval.high)}"


def speed_in_words(times: float | None) -> str:
    """So many times real time."""
    return "–" if times is None else f"{number(times)} ×"


def table_lines(evaluation: Evaluation) -> list[str]:
    """One row a system, and below each estimate its bounds; more tables where one is too wide."""
    columns = shown_columns(evaluation)
    head = ["", "bit/s", "frames/s", *(column.label for column in columns)]
    rows = [[*head, "encode", "decode"]]
    for system in evaluation.systems:
        rows += _rows(system, [column.name for column in columns])
    names, *others = zip(*rows, strict=True)
    lines = list(map(str.ljust, names, repeat(max(map(len, names)))))
    tables = [lines]
    # Both speeds stand together.
    for group in (*((cells,) for cells in others[:-2]), others[-2:]):
        wider = [""] * len(rows)
        for cells in group:
            width = max(map(len, cells)) + 2
            wider = [f"{line}{cell:>{width}}" for line, cell in zip(wider, cells, strict=True)]
        if len(tables[-1][0]) + len(wider[0]) > _WIDTH:
            tables.append(lines)
        tables[-1] = list(map(str.__add__, tables[-1], wider))
    # A table without estimates has nothing to say below a name.
    shown = [line.rstrip() for table in tables for line in (*table, "") if line.strip() or not line]
    return [*shown, *note_lines(evaluation)]


def _rows(system: System, names: list[str]) -> list[list[str]]:
    figures, shape = system.figures, system.shape
    name = system.name if len(system.name) <= _LONGEST_NAME else "…" + system.name[-_LONGEST_NAME:]
    known = [figures.get(each) for each in names]
    speed = system.speed
    first = [name, f"{shape.bits_per_second:,.0f}", f"{shape.frame_rate_hz:.4g}"]
    first += [number(each.estimate) if each else "–" for each in known]
    first += [speed_in_words(speed.encode if speed else None)]
    first += [speed_in_words(speed.decode if speed else None)]
    second = ["", "", "", *(bounds(each) if each else "" for each in known), "", ""]
    return [first, second] if any(known) else [first]


def note_lines(evaluation: Evaluation) -> list[str]:
    """What the figures are of, and why some are missing."""
    notes = []
    heard = next((system for system in evaluation.systems if system.clips), None)
    if heard:
        speakers = {speaker_of(clip) for clip in heard.clips}
        minutes = sum(clip.duration for clip in heard.clips) / 60
        notes.append(
            f"sound: {plural(len(heard.clips), 'clip')} of {plural(len(speakers), 'speaker')}, "
            f"{minutes:.1f} minutes, "
            f"the same of every codec ({evaluation.left_out} left out); SIM is from "
            f"{heard.sim_model or 'no model'}; bounds are of 95 %, by speakers"
        )
    if evaluation.data:
        first = f", the first {evaluation.limit} of each" if evaluation.limit else ""
        notes.append(f"speech: {', '.join(evaluation.data)}{first}")
    timed = next((system.speed for system in evaluation.systems if system.speed), None)
    if timed:
        notes.append(
            f"encode and decode: times real time on {timed.device}, "
            f"{plural(timed.threads, 'thread')}, of clips of Emilia's lengths"
        )
    notes += _probe_notes(evaluation)
    listener = next((system.heard for system in evaluation.systems if system.heard.originals), None)
    if listener:
        wer = word_error_rate(listener.originals)
        cer = character_error_rate(listener.originals)
        of_words = f"WER {number(wer.estimate)}, " if wer else ""
        notes.append(
            f"heard: by {listener.model} in {plural(len(listener.originals), 'reconstruction')}, "
            f"against the texts; in their originals {of_words}CER {number(cer.estimate)}"
        )
    if any(not each.is_known for one in evaluation.systems for each in one.figures.values()):
        notes.append(
            "bounds unknown: how much speakers differ is not known from fewer than three of them, "
            "nor where one has nearly all clips or words"
        )
    return [*notes, *_missing_notes(evaluation)]


def _probe_notes(evaluation: Evaluation) -> list[str]:
    """What the probes learned from, what they read, and which have not learned to."""
    notes = []
    probes = [system.probe for system in evaluation.systems if system.probe]
    if probes:
        probed, learned = probes[0], sorted({each.learned_clips for each in probes})
        fewest = f"{learned[0]} to " if len(learned) > 1 else ""
        notes.append(
            f"probe: learned {fewest}{plural(learned[-1], 'clip')} in "
            f"{plural(probed.plan.steps, 'step')} of "
            f"{probed.plan.batch_clips}, {probed.plan.hidden} units, highest learning rate "
            f"{probed.plan.learning_rate:g}; tested on {len(probed.transcripts)} "
            f"({evaluation.untested} left out)"
            + (
                f"; learned from {', '.join(evaluation.probe_data)}"
                if evaluation.probe_data
                else ""
            )
        )
    reads: dict[str, list[str]] = {}
    for system in evaluation.systems:
        if system.probe:
            reads.setdefault(system.probe.read, []).append(system.name)
    notes += [f"the probe reads of {', '.join(names)}: {read}" for read, names in reads.items()]
    mute = [
        system.name
        for system in evaluation.systems
        if system.probe and {each.text for each in system.probe.transcripts} == {""}
    ]
    if mute:
        notes.append(
            f"the probe wrote no letter for {', '.join(mute)}: it has not learned to read yet, and "
            "its errors say nothing about these codes; give it more steps or more speech"
        )
    return notes


def _missing_notes(evaluation: Evaluation) -> list[str]:
    """Which figures some clips lack, and of how many clips the others are."""
    labels = {column.name: column.label for column in COLUMNS}
    lacking = [
        (system, name, reason)
        for system in evaluation.systems
        for name, reason in system.why_missing().items()
    ]
    notes = [
        f"missing: {labels[name]} of {system.name}: {reason}" for system, name, reason in lacking
    ]
    taken = {
        labels[name]: system.figures[name].num_values
        for system, name, _ in lacking
        if name in system.figures
    }
    if taken:
        counts = ", ".join(f"{label} of {count}" for label, count in taken.items())
        notes.append(f"a figure is of the clips that have it with every codec: {counts}")
    return notes
