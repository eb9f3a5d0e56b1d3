"""What an audit leaves behind: `findings.parquet`, `summary.json` and `report.html` in a folder."""

import io
import json
import time

import pyarrow.parquet as pq

from pipeline.audit.findings import AuditFindings
from pipeline.audit.findings_table import findings_table
from pipeline.storage.client import Storage
from pipeline.storage.location import join


def write_audit(
    storage: Storage, folder: str | None, findings: AuditFindings, summary: str, page: str
) -> str:
    """Write the three files and return their folder; below the output without one."""
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
    storage.write_finished(join(folder, "summary.json"), summary.encode())
    storage.write_finished(join(folder, "report.html"), page.encode())
    return folder
