"""The page of an evaluation: the table, quality against meaning, sounds, and published figures."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pipeline.audit.findings import ClipFinding
from pipeline.audit.report.clip_cards import ClipCard, Side, clip_card
from pipeline.audit.report.page import render_page
from pipeline.evaluate.circles import Axis, Circle, CirclePlot, circle_plot
from pipeline.evaluate.clip_names import name_of
from pipeline.evaluate.published import PUBLISHED
from pipeline.evaluate.system import SOUND, Evaluation, System
from pipeline.evaluate.table import COLUMNS, note_lines, shown_columns, speed_in_words
from pipeline.plural import plural

_NUM_CLIPS = 6
_LABELS = {column.name: column.label for column in COLUMNS}
# What stands for meaning in the plots, the first that was measured.
_MEANING = ("probe_wer", "asr_wer")


def render_evaluation(evaluation: Evaluation) -> str:
    """The whole page as HTML, which needs no network."""
    headline = f"{plural(len(evaluation.systems), 'codec')} side by side"
    figures = [found for system in evaluation.systems for found in system.figures]
    columns = shown_columns(evaluation)
    head = ["Codec", "#bit/s", "#frames/s", *(f"#{column.label}" for column in columns)]
    meaning = next((each for each in _MEANING if each in figures), None)
    return render_page(
        "evaluate.html.j2",
        f"{headline} – xytok evaluate",
        package="pipeline.evaluate",
        headline=headline,
        systems=evaluation.systems,
        head=[*head, "#encode", "#decode"],
        columns=columns,
        speed_in_words=speed_in_words,
        notes=note_lines(evaluation),
        meaning=meaning,
        plots=list(_plots(evaluation.systems, meaning)),
        clips=_clips(evaluation),
        published=[(each, list(rows)) for each, rows in groupby(PUBLISHED, lambda row: row.source)],
    )


def _plots(systems: Sequence[System], meaning: str | None) -> Iterator[CirclePlot]:
    """Each quality against meaning; against the bit rate where nothing of meaning was measured."""
    for quality in SOUND:
        circles = [
            Circle(
                system.name,
                system.figures[meaning].estimate if meaning else system.shape.bits_per_second,
                system.figures[quality].estimate,
                system.shape.bits_per_second,
            )
            for system in systems
            if quality in system.figures and (not meaning or meaning in system.figures)
        ]
        if circles:
            across = Axis(_LABELS[meaning], is_reversed=True) if meaning else Axis("bit/s")
            yield circle_plot(circles, across, Axis(_LABELS[quality]))


def _clips(evaluation: Evaluation) -> list[ClipCard]:
    heard = [system for system in evaluation.systems if system.sounds]
    names = set.intersection(*(set(system.sounds) for system in heard)) if heard else set()
    clips = [clip for clip in evaluation.clips if name_of(clip) in names][:_NUM_CLIPS]
    return [clip_card(clip, "picked by chance", _sides(clip, heard)) for clip in clips]


def _sides(clip: ClipFinding, heard: Sequence[System]) -> list[Side]:
    found = {system.name: system.sounds[name_of(clip)] for system in heard}
    first = found[heard[0].name]
    return [
        Side("Original", first.original, first.rate_hz),
        *(Side(name, sound.reconstruction, sound.rate_hz) for name, sound in found.items()),
    ]
