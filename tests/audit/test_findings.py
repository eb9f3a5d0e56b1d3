from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.audit.audit_output import SCHEMA, findings_from, findings_table
from pipeline.audit.findings import METRIC_NAMES, NO_DIFFERENCE, ClipFinding, Drift, Scores


def make_finding(key: str = "a", **values: Any) -> ClipFinding:
    settings: dict[str, Any] = {
        "shard": "Emilia/EN/EN-B000000.tar",
        "key": key,
        "row": 3,
        "corpus": "Emilia",
        "language": "en",
        "speaker": None,
        "source_dnsmos": 3.2,
        "text": "<script>alert(1)</script>",
        "duration": 4.5,
        "num_frames": 56,
        "tar_offset": 1536,
        "tar_size": 9000,
        "drawn": True,
        "weight": 1.0,
        "sim_model": "campplus",
    }
    return ClipFinding(**(settings | values))


def make_drift(differing: tuple[int, ...] = (0, 3)) -> Drift:
    return Drift(
        56, 56, differing, 2, 1, (), 0, 0.99, NO_DIFFERENCE, 0.0005, True, "resampler linear", 0.98
    )


def test_findings_come_back_from_parquet_as_they_were(tmp_path):
    findings = [
        make_finding("a", scores=Scores(sim=0.9, stoi=0.8), drift=make_drift()),
        make_finding("b", reasons={"pesq_wb": "silence"}, seconds={"stoi": 0.1}),
    ]
    pq.write_table(findings_table(findings, {"seed": "7"}), tmp_path / "findings.parquet")
    table = pq.read_table(tmp_path / "findings.parquet")
    assert findings_from(table) == findings
    assert table.schema.metadata[b"seed"] == b"7"


def test_schema_is_the_same_without_a_single_finding():
    assert findings_table([]).schema == SCHEMA


def test_a_figure_that_is_not_finite_is_stored_as_missing():
    table = findings_table([make_finding(scores=Scores(sim=float("nan")))])
    assert findings_from(table)[0].scores.sim is None


def test_differences_exist_only_where_both_sides_do():
    difference = Scores(sim=0.75, stoi=0.5).minus(Scores(sim=0.5))
    assert difference.sim == pytest.approx(0.25)
    assert all(getattr(difference, name) is None for name in METRIC_NAMES if name != "sim")


def test_equal_codes_mean_equal_length_and_no_differing_value():
    assert make_drift((0, 0)).equal
    assert not make_drift((0, 1)).equal
    assert not Drift(55, 56, (0,), 0, 0, (), 0, 1.0, NO_DIFFERENCE).equal
