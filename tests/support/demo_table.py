"""The demo's last words: a few rows of the parts beside what the audit heard, and the page to open.

Run by `make demo`: `python tests/support/demo_table.py OUT`.
"""

import sys
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq

COLUMNS = ("key", "language", "duration", "num_frames", "sim", "stoi", "pesq_nb", "pesq_wb", "text")


def newest_audit(out: Path) -> Path:
    return max((out / "audit").iterdir(), key=lambda folder: folder.stat().st_mtime)


def print_table(audit: Path) -> None:
    """The first audited clip of every shard."""
    rows = pq.read_table(audit / "findings.parquet", columns=["shard", *COLUMNS]).to_pylist()
    first = {row["shard"]: row for row in reversed(rows)}
    scores = f"{'SIM':>6}{'STOI':>6}{'PESQ-NB':>8}{'-WB':>6}"
    print(f"{'key':26}{'lang':5}{'sec':>6}{'frames':>7}{scores}  text")
    for row in first.values():
        scored = (_number(row[name]) for name in ("sim", "stoi", "pesq_nb", "pesq_wb"))
        sim, stoi, narrow, wide = scored
        size = f"{row['duration']:>6.2f}{row['num_frames']:>7}"
        text = (row["text"] or "").strip()[:34]
        print(
            f"{row['key']:26}{row['language']:5}{size}{sim:>6}{stoi:>6}{narrow:>8}{wide:>6}  {text}"
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    out = Path(sys.argv[1])
    audit = newest_audit(out)
    print_table(audit)
    rows = ds.dataset(out / "tokens", format="parquet").count_rows()
    print(f"\n{rows} clips are codes in {out}/tokens; open {audit}/report.html")


if __name__ == "__main__":
    main()
