"""What an audit leaves behind in a folder: findings, keep list, summary and page."""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline.audit.audit import AuditRequest, Measure, open_audit, run_audit
from pipeline.audit.findings import AuditFindings
from pipeline.audit.findings_table import findings_table
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.verdict import judge
from pipeline.audit.keep_list import DEFAULT_DROP, keep_list
from pipeline.audit.report.audit_page import render_report
from pipeline.audit.report.sounds import Playback
from pipeline.audit.report.summary import summarize
from pipeline.storage.client import Storage
from pipeline.storage.location import join


@dataclass(frozen=True, slots=True)
class Audit:
    """A finished audit: what was measured, the verdict, its JSON summary, and where the files are.

    The verdict of the whole run is `judgement.verdict`, and that of each shard in
    `judgement.shards`.
    """

    findings: AuditFindings
    judgement: Judgement
    summary: str
    folder: str


def audit_output(
    request: AuditRequest,
    *,
    baseline: Baseline | None = None,
    thresholds: Thresholds | None = None,
    codes_only: bool = False,
    drop: Sequence[str] = DEFAULT_DROP,
    measure: Measure | None = None,
    folder: str | None = None,
) -> Audit:
    """Measure the output of a run, judge it, and write the four files into `folder`."""
    run, codec = open_audit(request)
    findings = run_audit(request, run, codec, measure)
    judgement = judge(findings, baseline, thresholds, codes_only=codes_only)
    sounds = Playback(run, codec, request.storage, request.source_map)
    page = render_report(findings, judgement, baseline, sounds)
    summary = summarize(findings, judgement)
    keep = keep_list(findings, judgement, run.manifests, request.storage, drop, run.dropped)
    folder = write_audit(request.storage, folder, findings, summary, page, keep)
    return Audit(findings, judgement, summary, folder)


def write_audit(
    storage: Storage,
    folder: str | None,
    findings: AuditFindings,
    summary: str,
    page: str,
    keep: bytes,
) -> str:
    """Write the four files and return their folder; below the output without one."""
    folder = folder or join(
        findings.output, "audit", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    )
    metadata = {
        "xytok.audit": json.dumps(
            {
                "output": findings.output,
                "seed": findings.seed,
                "sim_model": findings.sim_model,
                "codec": dict(findings.codec),
                "same_platform": findings.same_platform,
            },
            sort_keys=True,
        )
    }
    sink = io.BytesIO()
    pq.write_table(findings_table(findings.clips, metadata), sink, compression="zstd")
    storage.write_finished(join(folder, "findings.parquet"), sink.getvalue())
    storage.write_finished(join(folder, "keep.parquet"), keep)
    storage.write_finished(join(folder, "summary.json"), summary.encode())
    storage.write_finished(join(folder, "report.html"), page.encode())
    return folder
