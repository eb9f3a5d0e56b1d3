"""The page of an evaluation: the table, quality against meaning, sounds, and published figures."""

from collections.abc import Sequence
from html import escape

from pipeline.audit.findings import ClipFinding
from pipeline.audit.report.page import interval_cell, render_page, section, table
from pipeline.audit.report.plots import number
from pipeline.audit.report.wording import plural
from pipeline.audit.report.worst_clips import Listening, Side, clip_card
from pipeline.evaluate.circles import Axis, Circle, circle_plot
from pipeline.evaluate.clip_names import place_of
from pipeline.evaluate.columns import COLUMNS, Column, shown_columns, speed_in_words
from pipeline.evaluate.published import PUBLISHED, Published
from pipeline.evaluate.system import SOUND, Evaluation, System
from pipeline.evaluate.table import note_lines

_NUM_CLIPS = 6
_LABELS = {column.name: column.label for column in COLUMNS}
# What stands for meaning in the plots, the first that was measured.
_MEANING = ("probe_wer", "asr_wer")


def render_evaluation(evaluation: Evaluation) -> str:
    """The whole page as HTML, which needs no network."""
    names = ", ".join(system.name for system in evaluation.systems)
    title = f"{plural(len(evaluation.systems), 'codec')} side by side"
    head = (
        f'<p class="kicker">xytok evaluate · {escape(names)}</p>'
        f'<div class="verdict"><h1>{escape(title)}</h1></div>'
    )
    content = [
        head,
        _measured_section(evaluation),
        _plots_section(evaluation),
        _clips_section(evaluation),
        _published_section(),
    ]
    return render_page(f"{title} – xytok evaluate", "\n".join(filter(None, content)))


def _measured_section(evaluation: Evaluation) -> str:
    columns = shown_columns(evaluation)
    head = ["Codec", "#bit/s", "#frames/s", *(f"#{column.label}" for column in columns)]
    head += ["#encode", "#decode", "Probe reads"]
    rows = [_measured_row(system, columns) for system in evaluation.systems]
    notes = "".join(f"<li>{escape(line)}</li>" for line in note_lines(evaluation))
    return section(
        "Measured here",
        "All of the same clips. SIM, STOI and PESQ are better when higher, errors when lower.",
        f"{table(head, rows, 'Measured')}<ul>{notes}</ul>",
    )


def _measured_row(system: System, columns: Sequence[Column]) -> str:
    figures, speed = system.figures, system.speed
    cells = "".join(interval_cell(figures.get(column.name)) for column in columns)
    speeds = (speed.encode, speed.decode) if speed else (None, None)
    cells += "".join(f'<td class="number">{speed_in_words(each)}</td>' for each in speeds)
    read = system.probe.read if system.probe else "–"
    return (
        f'<tr><th scope="row">{escape(system.name)}</th>'
        f'<td class="number">{system.shape.bits_per_second:,.0f}</td>'
        f'<td class="number">{system.shape.frame_rate_hz:.4g}</td>'
        f"{cells}<td>{escape(read)}</td></tr>"
    )


def _plots_section(evaluation: Evaluation) -> str:
    figures = [(system, system.figures) for system in evaluation.systems]
    meaning = next((each for each in _MEANING if any(each in found for _, found in figures)), "")
    plots = []
    for quality in SOUND:
        circles = [
            Circle(
                system.name,
                found[meaning].estimate if meaning else system.shape.bits_per_second,
                found[quality].estimate,
                system.shape.bits_per_second,
            )
            for system, found in figures
            if quality in found and (not meaning or meaning in found)
        ]
        if circles:
            across = Axis(_LABELS[meaning], is_reversed=True) if meaning else Axis("bit/s")
            plots.append(f"<figure>{circle_plot(circles, across, Axis(_LABELS[quality]))}</figure>")
    if not plots:
        return ""
    lead = (
        "Better is up and to the right; the area of a circle is the bit rate."
        if meaning
        else "Nothing about meaning was measured: to the right is the bit rate."
    )
    return section("Quality and meaning", lead, f'<div class="sides">{"".join(plots)}</div>')


def _clips_section(evaluation: Evaluation) -> str:
    heard = [system for system in evaluation.systems if system.sounds]
    places = set.intersection(*(set(system.sounds) for system in heard)) if heard else set()
    clips = [clip for clip in evaluation.clips if place_of(clip) in places][:_NUM_CLIPS]
    cards = [_card(clip, heard) for clip in clips]
    if not cards:
        return ""
    lead = "The original and what each codec makes of it; the clips were picked by chance."
    return section("Hear them", lead, "".join(cards))


def _card(clip: ClipFinding, heard: Sequence[System]) -> str:
    place = place_of(clip)
    first = heard[0].sounds[place]
    sides = [Side("Original", first.original, first.rate_hz)]
    sides += [
        Side(system.name, system.sounds[place].reconstruction, system.sounds[place].rate_hz)
        for system in heard
    ]
    return clip_card(Listening(clip, "picked by chance"), sides, "")


def _published_section() -> str:
    head = ["Codec", "#bit/s", "#frames/s", "#SIM", "SIM is from", "#STOI", "#PESQ-NB", "#PESQ-WB"]
    head += ["#WER heard", "Heard by", "#probe WER", "Published in"]
    rows = [_published_row(row) for row in PUBLISHED]
    lead = (
        "For context only. These are of other recordings, and of other models where one is "
        "named: no figure here is to be compared with one that was measured."
    )
    return section("Published by others", lead, table(head, rows, "Published"))


def _published_row(row: Published) -> str:
    def figure(value: float | None) -> str:
        return f'<td class="number">{"–" if value is None else number(value)}</td>'

    def words(text: str) -> str:
        return f"<td>{escape(text) or '–'}</td>"

    sim_model = row.sim_model if row.sim is not None else ""
    return (
        f'<tr><th scope="row">{escape(row.codec)}</th>'
        f'<td class="number">{row.bits_per_second:,}</td>'
        f'<td class="number">{row.frame_rate_hz:g}</td>'
        f"{figure(row.sim)}{words(sim_model)}{figure(row.stoi)}{figure(row.pesq_nb)}"
        f"{figure(row.pesq_wb)}{figure(row.asr_wer)}{words(row.asr_model)}"
        f"{figure(row.probe_wer)}{words(row.source)}</tr>"
    )
