"""The page of an evaluation, with more codecs than a test can measure."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from pipeline.audit.judge.inference import Interval
from pipeline.evaluate.circles import Axis, Circle, CirclePlot, circle_plot
from pipeline.evaluate.page import render_evaluation
from pipeline.evaluate.probe.plan import PRESETS
from pipeline.evaluate.probe.result import ProbeResult
from pipeline.evaluate.published import PUBLISHED
from pipeline.evaluate.speed import Speed
from pipeline.evaluate.system import Evaluation, System
from pipeline.evaluate.table import COLUMNS, note_lines, table_lines
from tests.support.audit_page import tags
from tests.support.browser import CHROMIUM, chromium, stored
from xy_codec.codes_shape import CodesShape

# Codebooks, frame rate, SIM, STOI, PESQ-NB, PESQ-WB, WER of the probe: two pairs are alike.
CODECS = {
    "fdugyt/XY_Tokenizer": (8, 12.5, 0.83, 0.91, 3.0, 2.41, 0.13),
    "kyutai/mimi,depth=8": (8, 12.5, 0.74, 0.91, 2.8, 2.25, 0.28),
    "descript/dac_24khz,depth=2": (2, 50, 0.48, 0.83, 1.87, 1.48, 0.6),
    "xy-nano": (8, 12.5, 0.53, 0.86, 2.06, 1.6, 0.5),
    "/data/runs/experiments/2026-11/xy-posttrain/best": (8, 12.5, 0.82, 0.905, 2.95, 2.38, 0.14),
    "/data/random-dac": (12, 50, 0.42, 0.36, 1.26, 1.15, 0.99),
    "/data/random-mimi": (8, 12.5, 0.43, 0.345, 1.27, 1.15, 0.99),
}
# Pairs of texts of one plot that cover each other, as the browser has laid them out.
PROBE = """
<script>
addEventListener("load", function () {
  var found = [];
  document.querySelectorAll("svg.circles").forEach(function (plot) {
    var texts = Array.from(plot.querySelectorAll("text"));
    texts.forEach(function (one, place) {
      texts.slice(place + 1).forEach(function (other) {
        var a = one.getBBox(), b = other.getBBox();
        var wide = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
        var high = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
        // Letters are lower than their boxes.
        if (wide > 0 && high > 5) found.push(one.textContent + " / " + other.textContent);
      });
    });
  });
  document.body.dataset.covered = JSON.stringify(found);
  var region = document.querySelector(".wide");
  document.body.dataset.hidden = region.scrollWidth - region.clientWidth;
});
</script>
"""


def system(name: str, books: int, rate_hz: float, *figures: float) -> System:
    names = ("sim", "stoi", "pesq_nb", "pesq_wb", "probe_wer", "probe_cer", "asr_wer", "asr_cer")
    samples = int(16000 / rate_hz)
    return System(
        name,
        is_run=False,
        codec={},
        shape=CodesShape(16000, 16000, samples, samples, (1024,) * books),
        figures={
            each: Interval(value, value - 0.03, value + 0.03, 40)
            for each, value in zip(names, (*figures, 0.25, 0.126, 0.0524), strict=True)
        },
        speed=Speed(12.3, 45.6, "cpu", 1),
        probe=ProbeResult("its embeddings", PRESETS["small"], 900, 3, (), ()),
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render_evaluation(Evaluation(tuple(system(n, *f) for n, f in CODECS.items()), 0, 0))


def test_the_tables_of_a_terminal_are_no_wider_than_100_columns_and_say_all() -> None:
    found = Evaluation(tuple(system(name, *figures) for name, figures in CODECS.items()), 0, 0)
    lines = table_lines(found)[: -len(note_lines(found))]
    assert max(map(len, lines)) <= 100
    tables = "\n".join(lines).strip().split("\n\n")
    labels = " ".join(table.splitlines()[0] for table in tables)
    for label in ("bit/s", "frames/s", *(column.label for column in COLUMNS), "encode", "decode"):
        assert labels.count(label) == 1
    for name in CODECS:
        assert all(name[-36:] in table for table in tables)
    assert "\n".join(lines).count("0.710 to 0.770") == 1  # the bounds of the SIM of mimi


@pytest.mark.parametrize("letters", range(1, 37))
def test_both_speeds_are_in_one_table(letters: int) -> None:
    found = Evaluation((system("n" * letters, 8, 12.5, 0.83, 0.9, 3.0, 2.4, 0.1),), 0, 0)
    assert any(line.endswith("encode  decode") for line in table_lines(found))


def test_a_table_that_fits_is_one() -> None:
    found = Evaluation((replace(system("a", 8, 12.5, 0.83, 0.9, 3.0, 2.4, 0.1), figures={}),), 0, 0)
    assert table_lines(found)[:3] == [
        "   bit/s  frames/s  encode  decode",
        "a  1,000      12.5  12.3 ×  45.6 ×",
        "",
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_every_name_and_figure_whole(tmp_path: Path, page: str):
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    address = stored(tmp_path, free.replace("</body>", PROBE + "</body>"))
    options = ("--window-size=1280,900", "--virtual-time-budget=8000", "--dump-dom")
    body = next(
        attrs for tag, attrs in tags(chromium(tmp_path, *options, address)) if tag == "body"
    )
    assert json.loads(unescape(body["data-covered"] or "")) == []
    assert body["data-hidden"] == "0"


def plot_of(circles: Sequence[Circle]) -> CirclePlot:
    return circle_plot(circles, Axis("probe WER", is_reversed=True), Axis("SIM"))


def test_circles_are_named_without_folders_unless_these_tell_them_apart():
    names = ["kyutai/mimi,depth=8", "/a/best", "/b/best"]
    circles = [Circle(name, 0.1 * place, 0.5, 1000) for place, name in enumerate(names)]
    drawn = plot_of(circles).circles
    assert {each.name for each in drawn} == {"mimi,depth=8", "/a/best", "/b/best"}
    assert {each.about.partition(", ")[0] for each in drawn} >= {"/a/best", "/b/best"}


def test_ticks_are_round_and_lie_where_their_values_do():
    plot = plot_of([Circle("a", 0.13, 0.48, 1000), Circle("b", 0.6, 0.83, 1000)])
    assert [tick.text for tick in plot.ticks_below] == ["0.0", "0.2", "0.4", "0.6"]
    assert [tick.text for tick in plot.ticks_beside] == ["0.4", "0.6", "0.8"]
    a, b = sorted(plot.circles, key=lambda circle: circle.name)
    two, four = (tick.place for tick in plot.ticks_below[1:3])
    assert (a.x - b.x) / (two - four) == pytest.approx((0.13 - 0.6) / (0.2 - 0.4), rel=0.02)
    assert a.x > b.x


def test_published_rows_stand_below_their_source_with_the_model_of_sim(page: str):
    published = page.split("Published by others")[1]
    for source in {row.source for row in PUBLISHED}:
        (block,) = [part for part in published.split("Published in ") if part.startswith(source)]
        rows = [row for row in PUBLISHED if row.source == source]
        assert re.findall(r'<th scope="row">(.*?)</th>', block) == [row.codec for row in rows]
        models = re.findall(r'<td data-label="SIM is from">(.*?)</td>', block)
        assert models == [row.sim_model if row.sim is not None else "–" for row in rows]
    assert not any(row.source in page.split("Published by others")[0] for row in PUBLISHED)
