"""The columns of the table of systems: what each is called and which way is better."""

from dataclasses import dataclass
from typing import Literal

from pipeline.audit.judge.inference import Interval
from pipeline.audit.report.wording import number
from pipeline.evaluate.system import Evaluation


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
