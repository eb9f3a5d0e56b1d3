"""`make bench-audit`: what each metric costs, how fast tokens are checked, how busy cores are.

Costs are processor seconds per second of clip in one process, so that other work on the machine
does not count; the end-to-end part also tells the share of processor time nobody used.
"""

import argparse
import io
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audit.audit import AuditedRun, AuditRequest, measure_here, open_audit, run_audit
from pipeline.audit.codes.part_file import PartFile
from pipeline.audit.codes.token_checks import check_part
from pipeline.audit.findings import AuditFindings
from pipeline.audit.measure import ShardFindings
from pipeline.audit.metrics.score_pool import Pair, ScorePool
from pipeline.audit.metrics.scores import GROUPS, score_pair
from pipeline.audit.metrics.speaker_similarity import load_speaker_model
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.output.manifest import Manifest, WrittenFile
from tests.benchmarks.spent_time import family_cpu_seconds
from tests.support.audit_run import make_run
from tests.support.places import SPEECH
from tests.support.speech_pairs import speech_pairs
from xy_codec.contract import Codec
from xy_codec.fake import FAKES

SECONDS = (3, 10, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", default="xy-nano")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--copies", type=int, default=3, help="of the bundled shards to audit")
    args = parser.parse_args()
    _metric_costs(1 if args.quick else 3)
    _packages()
    _token_checks(2_000 if args.quick else 10_000)
    _pool(24 if args.quick else 120)
    _end_to_end(args.codec, args.copies)


def pair_of(seconds: int) -> tuple[np.ndarray, np.ndarray]:
    """Real speech of that length and a damaged copy."""
    sides = [np.concatenate(side) for side in zip(*speech_pairs(), strict=True)]
    repeats = -(-seconds * 16000 // len(sides[0]))
    left, right = (np.tile(side, repeats)[: seconds * 16000] for side in sides)
    return left, right


def processor_seconds(work: Callable[[], object], repeats: int) -> float:
    """The least processor time of a call, over some calls after the first."""
    work()
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


def _metric_costs(repeats: int) -> None:
    speaker = load_speaker_model()
    print("\nProcessor seconds a second of clip, both sides of a pair\n")
    print("| metric | " + " | ".join(f"{seconds} s clips" for seconds in SECONDS) + " |")
    print("|---|" + "---|" * len(SECONDS))
    totals = dict.fromkeys(SECONDS, 0.0)
    for group in GROUPS:
        cells = []
        for seconds in SECONDS:
            pair = pair_of(seconds)

            def score(pair: tuple = pair, group: str = group) -> object:
                return score_pair(*pair, groups=(group,), speaker=speaker)

            cost = processor_seconds(score, repeats) / seconds
            totals[seconds] += cost
            cells.append(f"{cost:.4f}")
        print(f"| {group} | " + " | ".join(cells) + " |", flush=True)
    print("| all | " + " | ".join(f"{totals[seconds]:.4f}" for seconds in SECONDS) + " |")


def _packages() -> None:
    import pystoi

    from pipeline.audit.metrics.dnsmos import dnsmos
    from pipeline.audit.metrics.stoi_and_pesq import stoi

    pair = pair_of(10)
    ours = processor_seconds(lambda: stoi(*pair), 5)
    theirs = processor_seconds(lambda: pystoi.stoi(*pair, 16000), 5)
    print(f"\nSTOI of 10 s: {1000 * ours:.0f} ms here, {1000 * theirs:.0f} ms in `pystoi`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from speechmos import dnsmos as published
    ours = processor_seconds(lambda: dnsmos(pair[0]), 2)
    theirs = processor_seconds(lambda: published.run(pair[0], 16000), 2)
    print(f"DNSMOS of 10 s: {1000 * ours:.0f} ms here, {1000 * theirs:.0f} ms in `speechmos`")


def _token_checks(rows: int) -> None:
    content = synthetic_part(rows)
    written = WrittenFile("tokens/a.parquet", len(content), "", rows)
    empty = WrittenFile("rejects/a.parquet", 0, "", 0)
    counts = (rows, rows, rows, 0, 0, 0, 0, 0.0)
    manifest = Manifest("a.tar", "/a.tar", 0, "", "0" * 8, *counts, written, empty)
    spent = processor_seconds(lambda: check_part(PartFile(content), manifest, FAKES["fake"]), 3)
    print(
        f"\nToken checks: {60 * rows / spent / 1e6:.2f} M clips a minute and core "
        f"({rows:,} clips of 10 s, {len(content) / 1e6:.1f} MB, checksum included)"
    )


def synthetic_part(rows: int) -> bytes:
    """A part of uniform codes, the hardest to read, with clips of 3 to 17 s."""
    import pyarrow.parquet as pq

    from pipeline.corpus.metadata import Metadata
    from pipeline.output.parquet_layout import DICTIONARY_COLUMNS, ROW_GROUP_ROWS
    from pipeline.output.part import PartRow, part_table
    from pipeline.output.schema import part_schema

    rng = np.random.default_rng(0)
    sink = io.BytesIO()
    dictionary: Any = list(DICTIONARY_COLUMNS)  # pyarrow's stubs allow only a bool
    writer = pq.ParquetWriter(
        sink, part_schema(FAKES["fake"]), compression="zstd", use_dictionary=dictionary
    )
    for start in range(0, rows, ROW_GROUP_ROWS):
        group = []
        for number in range(start, min(start + ROW_GROUP_ROWS, rows)):
            samples = int(rng.uniform(3, 17) * 24_000)
            codes = rng.integers(0, 1024, (8, samples // 1920), dtype=np.int16)
            group.append(PartRow(f"k{number}", codes, samples, 24_000, Metadata(), 0, 9, number))
        writer.write_table(part_table(group, "a.tar", FAKES["fake"], has_offsets=True))
    writer.close()
    return sink.getvalue()


@dataclass(frozen=True, slots=True)
class Used:
    """What a stretch of work took."""

    wall_seconds: float
    own_seconds: float
    idle_share: float


def _pool(count: int) -> None:
    pair = pair_of(8)
    pairs = [Pair(number, *pair) for number in range(count)]
    groups = tuple(group for group in GROUPS if group != "dnsmos")

    def work() -> None:
        with ScorePool(None, groups, "campplus") as pool:
            list(pool.scores(pairs[:4]))  # processes are started and models loaded
            started.append(time.perf_counter())
            list(pool.scores(pairs))

    started: list[float] = []
    used = measure(work)
    seconds = time.perf_counter() - started[0]
    print(
        f"\nScore pool, {os.cpu_count()} processes, without DNSMOS: {8 * count / seconds:.0f} x "
        f"real time; {describe(used)}"
    )


class Busy:
    """The share of the cores an audit uses from its first finished shard to its last."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, float, int, int]] = []

    def measure(
        self, request: AuditRequest, run: AuditedRun, codec: Codec
    ) -> Iterator[ShardFindings]:
        """Measure as an audit does, and look at the clocks after every shard."""
        for shard in measure_here(request, run, codec):
            yield shard
            self._look()

    def _look(self) -> None:
        """The time, the processor time of all own processes, and the machine's."""
        own = sum(family_cpu_seconds().values())
        self._looks.append((time.perf_counter(), own, *_machine_ticks()))

    def to_line(self) -> str:
        """Both shares, and how long they were measured."""
        first, last = self._looks[0], self._looks[-1]
        wall, own, idle, ticks = (after - before for before, after in zip(first, last, strict=True))
        if wall <= 0:
            return "one shard only: cores busy from the first to the last cannot be told"
        share = own / (wall * (os.cpu_count() or 1))
        return (
            f"from the first shard to the last ({wall:.0f} s) the audit kept the cores {share:.0%} "
            f"busy, expected at least 90 %; {idle / max(ticks, 1):.0%} were used by nobody"
        )


def _end_to_end(codec: str, copies: int) -> None:
    busy = Busy()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(copies):
            shutil.copytree(SPEECH, Path(folder) / f"in/{number}")
        output = make_run(Path(folder) / "out", f"{folder}/in", codec, root=f"{folder}/in")
        request = AuditRequest(
            str(output), plan=SamplePlan(per_shard=50), codec=codec, device="cpu"
        )
        run, loaded = open_audit(request)
        findings: list[AuditFindings] = []
        used = measure(lambda: findings.append(run_audit(request, run, loaded, busy.measure)))
    clips = findings[0].clips
    audio = sum(clip.duration for clip in clips)
    print(
        f"\nAudit with `{codec}`, all metrics: {len(clips)} clips, {audio:.0f} s of audio in "
        f"{used.wall_seconds:.0f} s ({audio / used.wall_seconds:.1f} x real time); {describe(used)}"
    )
    print(busy.to_line())
    steps: dict[str, float] = {}
    for clip in clips:
        for name, spent in clip.seconds.items():
            steps[name] = steps.get(name, 0.0) + spent
    print("\n| step of this audit | wall seconds a second of clip |\n|---|---|")
    for name, spent in sorted(steps.items(), key=lambda step: -step[1]):
        print(f"| {name} | {spent / audio:.4f} |")


def describe(used: Used) -> str:
    cores = os.cpu_count() or 1
    share = used.own_seconds / (used.wall_seconds * cores)
    return f"{share:.0%} of {cores} cores used by it, {used.idle_share:.0%} by nobody"


def measure(work: Callable[[], object]) -> Used:
    """Wall time, processor time with children, and what the whole machine left idle."""
    own, idle, total = _own_seconds(), *_machine_ticks()
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    idle_after, total_after = _machine_ticks()
    idle_share = (idle_after - idle) / max(total_after - total, 1)
    return Used(wall, _own_seconds() - own, idle_share)


def _own_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _machine_ticks() -> tuple[int, int]:
    """Idle and all processor ticks since the machine started."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


if __name__ == "__main__":
    main()
