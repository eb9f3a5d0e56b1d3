"""How the tools that read an output scale: requests, seconds, memory, with and without an index.

Run it with `make bench-outputs`. It fills a real S3 server with a finished run of tiny shards,
which takes some minutes, and runs every tool in a process of its own. `--folder` keeps the data.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.output.index import INDEX
from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from tests.support.large_output import fill_inputs, fill_output, key_of
from tests.support.places import ROOT
from tests.support.s3_server import S3Server, s3_server

BUCKET = "s3://bench"
OUTPUT = f"{BUCKET}/out"
# Runs a command line, and counts the requests that leave its client.
PROBE = """
import json, re, sys, time
from collections import Counter
from pathlib import Path
from aiobotocore.httpsession import AIOHTTPSession
from jobs.cli import run
send, sent = AIOHTTPSession.send, Counter()
async def count(self, request):
    kind = "LIST" if "list-type" in request.url else request.method
    sent[kind] += 1
    return await send(self, request)
AIOHTTPSession.send = count
started, cpu = time.perf_counter(), time.process_time()
code = run(sys.argv[1:])
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([code, seconds, cpu, peak, sent]), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    requests: dict[str, int]

    def __str__(self) -> str:
        asked = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.requests.items()))
        return (
            f"{sum(self.requests.values()):,} ({asked}) | {self.seconds:.1f} s | "
            f"{self.cpu_seconds:.1f} s | {self.peak_mib:.0f} MiB"
        )


def measure(words: str, server: S3Server) -> Cost:
    """Run `xytok` with these words in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *shlex.split(words)],
        cwd=ROOT,
        env={**os.environ, **server.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return Cost(*json.loads(done.stderr.splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise RuntimeError(f"`{words}` ended so: {done.stderr[-2000:]}") from error


def bench(server: S3Server, num_shards: int) -> None:
    """Print a row for each tool and state of the index."""
    storage = Storage({"s3": server.storage_options()})
    clip = key_of(num_shards // 2, 1)
    tools = {
        "status": f"status {OUTPUT}",
        "card": f"card {OUTPUT} --output /dev/null",
        "show KEY": f"show {OUTPUT} {clip}",
        "verify --quick": f"verify {OUTPUT} --quick --quiet",
        "tokenize, nothing left": f"tokenize {BUCKET}/in {OUTPUT} --codec fake --quiet",
    }

    def row(what: str, words: str) -> None:
        cost = measure(words, server)
        assert cost.code == 0, (what, cost)
        print(f"| {what} | {cost} |", flush=True)

    print("| tool | requests | wall | processor | peak memory |\n|---|---|---|---|---|", flush=True)
    row("plan of a new run", f"plan {BUCKET}/in {BUCKET}/new --codec fake")
    storage.delete(f"{OUTPUT}/{INDEX}")
    row("index from nothing", f"index {OUTPUT} --quiet")
    size = storage.file_info(f"{OUTPUT}/{INDEX}").size_bytes
    for name, words in tools.items():
        row(f"{name}, fresh index", words)
    row("index, nothing new", f"index {OUTPUT} --quiet")
    _forget(storage, num_shards // 100)
    row("status, 1 % unknown to the index", tools["status"])
    row("index, 1 % new", f"index {OUTPUT} --quiet")
    storage.delete(f"{OUTPUT}/{INDEX}")
    for name, words in tools.items():
        row(f"{name}, no index", words)
    print(f"\nThe index has {size:,} bytes: {size / num_shards:.0f} a shard.")


def _forget(storage: Storage, count: int) -> None:
    """Write an index that does not know every hundredth shard."""
    from pipeline.output.index import write_index

    names = list_manifests(storage, OUTPUT)
    step = len(names) // count
    write_index(storage, OUTPUT, [name for n, name in enumerate(names) if n % step])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="keep the server's data here, or find it here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xytok-outputs-") as temporary:
        folder = args.folder or Path(temporary)
        is_filled = (folder / "filled").exists()
        with s3_server(folder) as server:
            if not is_filled:
                storage = Storage({"s3": server.storage_options()})
                fill_inputs(storage, BUCKET, args.shards)
                fill_output(storage, BUCKET)
                (folder / "filled").touch()
            bench(server, args.shards)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
