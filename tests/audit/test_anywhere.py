"""The same audit on Ray, over S3 and with a real codec gives what it gives on a laptop."""

import json
from pathlib import Path

import pytest

from jobs.cli import run as xytok
from pipeline.audit.audit import AuditRequest, measure_on_ray, open_audit, run_audit
from pipeline.audit.judge.verdict import judge
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.rules import ReadRules
from pipeline.fleet.ray.engine import RayEngine
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.run import run_tokenize
from pipeline.output.run_record import read_run_record
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.support.audit_run import (
    ENGLISH,
    audit_run,
    change_codes,
    copy_run,
    flip_one_percent,
    make_run,
)
from tests.support.needs import needs_float16
from tests.support.places import SPEECH
from tests.support.ray_runs import ray_cluster_of, request_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fake_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("anywhere") / "run")


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    shard = str(SPEECH / "Emilia/EN/EN-B000000.tar")
    return make_run(tmp_path_factory.mktemp("real") / "run", shard, codec="xy-nano")


def test_audit_on_ray_equals_the_inline_one(fake_run):
    request = AuditRequest(
        str(fake_run), plan=SamplePlan(4), groups=("acoustics",), processes=1, device="cpu"
    )
    audited, codec = open_audit(request)
    with ray_cluster_of(num_cpus=2):
        found = run_audit(request, audited, codec, measure_on_ray)
    expected = run_audit(request, audited, codec)
    assert [clip.key for clip in found.clips] == [clip.key for clip in expected.clips]
    assert [clip.scores for clip in found.clips] == [clip.scores for clip in expected.clips]
    assert [report.rows for report in found.tokens] == [17, 12]


@needs_float16
def test_a_fast_run_on_ray_records_the_flip_rate_of_its_workers(tmp_path):
    inputs = str(SPEECH / "Emilia/EN/EN-B000000.tar")
    codec = CodecRequest("xy-nano", precision="fast", device="cpu")
    engine = RayEngine(codec, RayOptions(workers=1, cpus_per_worker=1))
    with ray_cluster_of(num_cpus=2):
        try:
            run_tokenize(request_for(Path(inputs), tmp_path / "ray", ReadRules()), engine)
        finally:
            engine.close()
    make_run(tmp_path / "inline", inputs, "xy-nano", "fast")
    rates = [
        read_run_record(Storage(), str(tmp_path / name)).provenance["flip_rate"]
        for name in ("ray", "inline")
    ]
    assert rates[0] == rates[1]


def test_audit_over_a_bucket_reads_ranges_and_writes_the_page_there(s3, fake_run, tmp_path):
    options = {"s3": s3.storage_options()}
    storage = Storage(options)
    fs, _ = storage.filesystem("s3://audit/x")
    fs.mkdir("audit")
    fs.put(str(fake_run), "audit/out", recursive=True)
    fs.put(f"{ENGLISH}/", "audit/in/", recursive=True)
    (tmp_path / "options.json").write_text(json.dumps(options))
    words = ["audit", "s3://audit/out", "--metrics", "acoustics", "--processes", "0"]
    words.append("--codes-only")
    words += ["--source-map", f"{ENGLISH}=s3://audit/in", "--quiet", "--device", "cpu"]
    assert xytok([*words, "--storage-options", f"@{tmp_path / 'options.json'}"]) == 0
    written = {file.url.rsplit("/", 1)[1] for file in storage.list_files("s3://audit/out/audit")}
    assert written == {"findings.parquet", "keep.parquet", "summary.json", "report.html"}
    words += ["--list-sources", "--storage-options", f"@{tmp_path / 'options.json'}"]
    assert xytok(words) == 0
    files = [file.url for file in storage.list_files("s3://audit/out/audit")]
    summaries = [json.loads(storage.read_bytes(url)) for url in files if url.endswith(".json")]
    assert sorted(summary["sources_listed"] for summary in summaries) == [0, 2]


def test_clean_run_of_the_real_codec_has_no_drift_and_no_alarm(real_run):
    findings = audit_run(real_run, plan=SamplePlan(9))
    assert findings.same_platform
    assert all(clip.drift is not None and clip.drift.equal for clip in findings.clips)
    assert judge(findings, codes_only=True).verdict == "ok"


def test_flipped_codes_of_the_real_codec_are_named(real_run, tmp_path):
    run = copy_run(real_run, tmp_path / "run")
    change_codes(run, flip_one_percent)
    found = audit_run(run, plan=SamplePlan(9), groups=("stoi",))
    (shard,) = judge(found, codes_only=True).shards
    assert "scattered flips" in [fault.name for fault in shard.faults]
    assert shard.paired["stoi"].difference.num_values == 9
