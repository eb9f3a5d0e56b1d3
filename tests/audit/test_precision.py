"""A run in `fast` precision, audited in `exact`: the rate the run recorded is the expectation."""

import json

import numpy as np
import pytest
import torch

from jobs.cli import run as xytok
from pipeline.audit.findings import AuditFindings, Drift
from pipeline.audit.judge.codes import allowed_flip_rate
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.verdict import judge
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from tests.support.audit_run import audit_run, change_codes, copy_run, make_run
from tests.support.needs import needs_float16
from tests.support.places import SPEECH
from xy_codec.fake import FakeCodec

pytestmark = needs_float16
SHARD = str(SPEECH / "Emilia/EN/EN-B000000.tar")


@pytest.fixture(scope="module")
def fast_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("fast") / "run", SHARD, "xy-nano", "fast")


def recorded(run):
    return json.loads((run / "run.json").read_text())["provenance"].get("flip_rate")


def audit(run, precision: str | None = "exact", **changes: object) -> AuditFindings:
    settings = {"plan": SamplePlan(8), "precision": precision, "groups": ("stoi",)}
    return audit_run(run, **(settings | changes))


def drifts(findings: AuditFindings) -> list[Drift]:
    found = [clip.drift for clip in findings.clips if clip.drift is not None]
    assert len(found) == len(findings.clips)
    return found


def flip(share: float):
    def change(codes):
        rng = np.random.default_rng(0)
        return [m ^ (rng.random(m.shape) < share).astype(np.int16) * 64 for m in codes]

    return change


def test_a_fast_run_records_how_many_codes_it_flips(fast_run):
    rates = recorded(fast_run)
    assert len(rates) == 8
    assert 0.0005 < np.mean(rates) < 0.05
    # The first codebook is chosen before any rounding of the others can move it.
    assert rates[0] < rates[-1]


def test_an_exact_run_records_no_rate_and_a_rerun_keeps_the_first(fast_run, tmp_path):
    again = copy_run(fast_run, tmp_path / "again")
    record = (again / "run.json").read_bytes()
    make_run(again, SHARD, "xy-nano", "fast")
    assert (again / "run.json").read_bytes() == record
    assert recorded(make_run(tmp_path / "exact", SHARD)) is None


def test_flips_at_the_recorded_rate_are_ok(fast_run):
    findings = audit(fast_run)
    judged = judge(findings, codes_only=True)
    assert not findings.same_platform
    assert findings.expected_flip_rate == tuple(recorded(fast_run))
    assert sum(not drift.equal for drift in drifts(findings)) >= 3
    assert (judged.verdict, judged.codes_state) == ("ok", "equivalent")
    (note,) = (note for note in judged.notes if "Codes were made with `fast`" in note)
    assert "encoded again with `exact`" in note


def test_flips_well_above_the_recorded_rate_are_drift(fast_run, tmp_path):
    run = copy_run(fast_run, tmp_path / "run")
    change_codes(run, flip(0.1))
    (shard,) = judge(audit(run), codes_only=True).shards
    assert shard.verdict == "drift"
    assert [fault.name for fault in shard.faults] == ["scattered flips"]


def test_a_given_rate_goes_before_the_recorded_one(fast_run):
    findings = audit(fast_run, expected_flip_rate=0.00001)
    assert allowed_flip_rate(findings, Thresholds()) == pytest.approx(0.00003)


def test_the_same_precision_on_the_same_platform_allows_no_flip(fast_run):
    findings = audit(fast_run, precision=None)
    assert findings.same_platform
    assert all(drift.equal for drift in drifts(findings))
    assert allowed_flip_rate(findings, judge(findings).thresholds) == 0


def test_the_summary_has_the_expected_the_allowed_and_the_measured_rate(fast_run, tmp_path):
    words = ["audit", str(fast_run), "--precision", "exact", "--metrics", "stoi", "--quiet"]
    words += ["--processes", "0", "--device", "cpu", "--output", str(tmp_path), "--codes-only"]
    assert xytok(words) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    expected = np.mean(summary["expected_flip_rate"])
    assert summary["allowed_flip_rate"] == pytest.approx(3 * expected)
    assert 0 < np.mean(summary["flip_rate"]) < summary["allowed_flip_rate"]
    assert summary["codec"]["precision"] == "fast"
    assert summary["reencoded_with"]["precision"] == "exact"
    page = (tmp_path / "report.html").read_text()
    assert "Codes that differ" in page
    assert "more than another platform or precision explains" in page


def test_no_memory_for_a_second_codec_leaves_the_rate_unknown_and_the_run_alive():
    class FullCodec(FakeCodec):
        def encode(self, waveforms, *, rate_hz=None):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    (shard,) = list_shards([str(next((SPEECH / "Emilia/IT").glob("*.tar")))], Storage())
    assert (
        measure_flip_rate(FullCodec(), CodecRequest("fake"), shard, Storage(), ReadRules()) is None
    )
