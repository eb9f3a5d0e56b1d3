"""Rows are held against the tar they came from, and a tar that changed is named."""

import os

import pytest

from pipeline.audit.codes.token_report import SourceReport
from pipeline.audit.findings import AuditFindings
from pipeline.audit.judge.verdict import judge
from pipeline.audit.sample.sampling import SamplePlan
from tests.support.audit_run import audit_run, change_part, make_run
from tests.support.shard_maker import Member, emilia_json, pair, tar_bytes, write_shard

NUM_CLIPS = 12


def clips(count: int = NUM_CLIPS, seconds: float = 1.0) -> list[Member]:
    return [m for n in range(count) for m in pair(f"clip{n:04d}", seconds, seed=n)]


@pytest.fixture
def tar(tmp_path):
    return write_shard(tmp_path / "in" / "a.tar", clips())


@pytest.fixture
def run(tmp_path, tar):
    return make_run(tmp_path / "out", str(tar), root="")


def audit(run, **changes: object) -> AuditFindings:
    settings = {"plan": SamplePlan(8), "list_sources": True}
    return audit_run(run, **(settings | changes))


def source(findings: AuditFindings) -> SourceReport:
    (report,) = findings.tokens
    return report.source


def faults(findings: AuditFindings) -> dict[str, str]:
    (shard,) = judge(findings, codes_only=True).shards
    return {fault.name: fault.evidence for fault in shard.faults}


def replace_tar(tar, members, keep_time: bool = True) -> None:
    before = tar.stat()
    write_shard(tar, members)
    if keep_time:
        os.utime(tar, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_every_clip_of_a_clean_tar_is_a_row(run):
    findings = audit(run)
    assert source(findings) == SourceReport(clips=NUM_CLIPS)
    assert judge(findings, codes_only=True).verdict == "ok"
    assert source(audit(run, list_sources=False)).clips is None


def test_rows_that_even_the_manifest_does_not_miss_are_found_in_the_tar(run):
    left = NUM_CLIPS - 2
    change_part(run, lambda table: table.slice(2), "a.tar", codes=left, clips_seen=left)
    assert faults(audit(run, list_sources=False)) == {}
    assert faults(audit(run)) == {
        "missing rows": "2 of 12 clips of the tar without row or reject, and not filtered, "
        "the first is `clip0000`"
    }


def test_rows_the_tar_does_not_have_are_named(run, tar):
    replace_tar(tar, clips(NUM_CLIPS - 1))
    evidence = faults(audit(run))["changed source"]
    assert "bytes now" in evidence
    assert "1 clip of part and rejects not in the tar at their place" in evidence


def test_a_replaced_tar_is_named_without_listing(run, tar):
    replace_tar(tar, clips(seconds=2.0))
    found = faults(audit(run, list_sources=False))
    assert "bytes now" in found["changed source"]
    assert "8 of 8 sampled originals are not the bytes" in found["changed source"]


def test_one_changed_clip_of_the_same_size_is_found_in_the_tar(run, tar):
    content = bytearray(tar.read_bytes())
    unsampled = {f"clip{n:04d}" for n in range(NUM_CLIPS)} - {c.key for c in audit(run).clips}
    key = min(unsampled)
    at = content.index(f"{key}.mp3".encode()) + 512 + 200
    content[at] ^= 1
    replace_tar(tar, bytes(content))
    assert faults(audit(run, list_sources=False)) == {}
    assert faults(audit(run))["changed source"].endswith(f"the first is `{key}`")


def test_a_tar_that_was_only_touched_is_noted_and_no_fault(run, tar):
    os.utime(tar)
    judged = judge(audit(run), codes_only=True)
    assert judged.verdict == "ok"
    assert "1 tar with another etag or modification time" in " ".join(judged.notes)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_rejects_and_filtered_clips_are_accounted_for(tmp_path, suffix):
    import gzip

    members = [*clips(8), *pair("dull", dnsmos=1.0), ("lone.json", emilia_json("lone"))]
    members += [("bad.mp3", b"no audio"), ("bad.json", emilia_json("bad"))]
    members += [("clip0000.mp3", b"a second audio member")]
    content = tar_bytes(members)
    packed = gzip.compress(content) if suffix.endswith("gz") else content
    shard = write_shard(tmp_path / "in" / f"a{suffix}", packed)
    run = make_run(tmp_path / "out", str(shard), root="", where="dnsmos >= 3")
    findings = audit(run, reencode=False)
    assert source(findings) == SourceReport(clips=12)


def test_a_run_of_the_first_clips_is_held_against_those(tmp_path, tar):
    run = make_run(tmp_path / "some", str(tar), root="", limit=5)
    assert source(audit(run)) == SourceReport(clips=5)


def test_a_source_that_is_gone_is_noted_and_no_fault_of_the_tokens(run, tar):
    tar.unlink()
    findings = audit(run)
    assert "a.tar" in (source(findings).unlisted or "")
    assert faults(findings) == {}
    notes = judge(findings).notes
    assert any("1 tar could not be listed" in note for note in notes)
