"""The host path without a model: real time per core, seconds per stage, the GIL's share, Parquet.

Real speech (MP3 at 24 kHz) goes from a tar to a part with the shipped fake codec. Figures are in
processor seconds, which other jobs on the machine disturb less than wall time. Run it by
`make bench-host`; `--json FILE` keeps the figures.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
import torch
import xxhash

from pipeline.corpus.decode import ClipBounds, DecodedClip, decode_clip
from pipeline.corpus.listing import list_shards
from pipeline.corpus.metadata import NO_METADATA
from pipeline.corpus.pairing import FoundClip, Pairing
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard, open_shard
from pipeline.corpus.tar_reader import TarReader
from pipeline.output.identity import build_identity
from pipeline.output.part import PartRow, PartWriter
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise
from pipeline.worker.ledger import ShardLedger
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.stage_times import StageTime
from pipeline.worker.worker import ShardWorker
from tests.benchmarks.native_time import NativeTime, timed_native_calls, timing_seconds
from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import resample
from xy_codec.fake import FakeCodec

WANTED_GIL_MICROSECONDS = 300
WANTED_CODES_RATIO = 1.02
CLIP_SECONDS = 10.0
SHORT_CLIPS = 300
# The best of many short runs comes closest to a machine without other jobs.
SHORT_RUNS = 40
SHORT_JSON = b"""{"id": "x", "wav": "x/y/z.mp3", "text": " What the speaker says, in full.",
 "duration": 9.9, "speaker": "EN_B00000_S00000", "language": "en", "dnsmos": 3.3}"""


def speech_shard(folder: Path, hours: float) -> Shard:
    """The bundled speech again and again, under new keys."""
    members: list[tuple[str, bytes]] = []
    for tar in sorted(SPEECH.rglob("*.tar")):
        members += read_members(tar).items()
    seconds = sum(json.loads(d)["duration"] for name, d in members if name.endswith(".json"))
    path = folder / "speech.tar"
    with tarfile.open(path, "w") as target:
        for turn in range(max(1, round(hours * 3600 / seconds))):
            for name, payload in members:
                info = tarfile.TarInfo(f"turn{turn:04d}/{name}")
                info.size = len(payload)
                target.addfile(info, io.BytesIO(payload))
    return list_shards([str(path)], Storage())[0]


@dataclass(frozen=True)
class Turn:
    """One run of the shard."""

    clips: int
    source_seconds: float
    wall_seconds: float
    cpu_seconds: float
    stages: list[StageTime]

    @property
    def per_core(self) -> float:
        return self.source_seconds / self.cpu_seconds


def run_once(shard: Shard, output: Path, threads: int) -> Turn:
    codec, rules = FakeCodec(), ReadRules()
    identity = build_identity(codec.identity, rules)
    settings = WorkerSettings(normalise(str(output)), identity, rules, Storage(), Tuning(threads))
    worker = ShardWorker(settings, codec)
    wall, cpu = time.perf_counter(), time.process_time()
    (outcome,) = worker.run(iter([shard]))
    assert outcome.manifest is not None, outcome.fault
    return Turn(
        outcome.manifest.codes,
        outcome.manifest.source_seconds,
        time.perf_counter() - wall,
        time.process_time() - cpu,
        worker.stage_times(),
    )


def print_stages(turn: Turn, native: NativeTime) -> float:
    """The table of stages; returns the microseconds a clip that may hold the GIL."""
    hours = turn.source_seconds / 3600
    print(f"\n{'stage':<12}{'cpu s per hour':>16}{'us per clip':>14}{'share':>9}")
    for stage in turn.stages:
        share = stage.cpu_seconds / turn.cpu_seconds
        each = stage.cpu_seconds / turn.clips * 1e6
        print(f"{stage.name:<12}{stage.cpu_seconds / hours:>16.3f}{each:>14.0f}{share:>9.1%}")
    for name, seconds in sorted(native.seconds.items(), key=lambda item: -item[1]):
        each = seconds / turn.clips * 1e6
        share = seconds / turn.cpu_seconds
        print(f"  {name:<10}{seconds / hours:>16.3f}{each:>14.0f}{share:>9.1%}  without the GIL")
    held = sum(s.cpu_seconds for s in turn.stages) - sum(native.seconds.values())
    return held / turn.clips * 1e6


def codes_ratio(folder: Path, hours: float) -> float:
    """Bytes of uniformly random codes in a part, over ten bits each: the worst case there is."""
    rng = np.random.default_rng(0)
    frames = int(CLIP_SECONDS * 12.5)
    shard = Shard("/none.tar", "none.tar", 0, "")
    codec, rules = FakeCodec(), ReadRules()
    writer = PartWriter(shard, build_identity(codec.identity, rules))
    clips = int(hours * 3600 / CLIP_SECONDS)
    for start in range(0, clips, 512):
        rows = [random_row(n, frames, rng) for n in range(start, min(clips, start + 512))]
        writer.add_row_group(rows)
    written = writer.publish(Storage(), str(folder))
    writer.discard()
    meta = pq.read_metadata(folder / written.path)
    column = [meta.row_group(g).column(c) for g in range(meta.num_row_groups) for c in (1,)]
    size = sum(c.total_compressed_size for c in column)
    return size / (clips * frames * 8 * 10 / 8)


def python_microseconds(folder: Path) -> float:
    """Processor time a clip outside native calls, from clips so short that nothing else counts."""
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(3840, np.float32), 24000, format="WAV", subtype="PCM_16")
    path = folder / "short.tar"
    with tarfile.open(path, "w") as target:
        for number in range(SHORT_CLIPS):
            for kind, payload in (("json", SHORT_JSON), ("wav", sound.getvalue())):
                info = tarfile.TarInfo(f"clip{number:06d}.{kind}")
                info.size = len(payload)
                target.addfile(info, io.BytesIO(payload))
    return min(
        one_thread_microseconds(list_shards([str(path)], Storage())[0]) for _ in range(SHORT_RUNS)
    )


def one_thread_microseconds(shard: Shard) -> float:
    """All stages in one thread: what they cost without native calls and without hand-overs."""
    codec, rules = FakeCodec(), ReadRules()
    writer = PartWriter(shard, build_identity(codec.identity, rules))
    groups: list[list[PartRow]] = []
    ledger = ShardLedger(shard, rules, lambda _, rows: groups.append(rows))
    native = NativeTime()
    with timed_native_calls(native):
        began = time.thread_time()
        pairing = Pairing()
        stream = open_shard(shard, Storage())
        reader = TarReader(stream, size_bytes=shard.size_bytes, max_member_bytes=1 << 29)
        for event in chain.from_iterable(chain(map(pairing.feed, reader), [pairing.finish()])):
            encode_found(event, ledger, codec)
        ledger.finish_reading((), reader.members, limited=False)
        for rows in groups[:-1]:
            writer.add_row_group(rows)
        spent = time.thread_time() - began
    writer.discard()
    held = spent - sum(native.seconds.values()) - timing_seconds(native.calls)
    return held / ledger.codes * 1e6


def encode_found(event: object, ledger: ShardLedger, codec: FakeCodec) -> None:
    """What the decoding and encoding threads do with one clip."""
    assert isinstance(event, FoundClip)
    clip = ledger.add_clip(event.files)
    assert clip is not None
    assert event.files.audio is not None
    assert event.files.audio.payload is not None
    clip.audio_xxh64 = xxhash.xxh64_intdigest(event.files.audio.payload)
    decoded = decode_clip(event.files.audio.payload, codec.shape.input_rate_hz, ClipBounds())
    assert isinstance(decoded, DecodedClip)
    clip.num_samples, clip.sample_rate = decoded.num_samples, decoded.sample_rate
    ledger.set_codes(clip, codec.encode_with_side([decoded.waveform])[0])


def random_row(number: int, frames: int, rng: np.random.Generator) -> PartRow:
    codes = rng.integers(0, 1024, (8, frames), dtype=np.int16)
    samples = int(CLIP_SECONDS * 24000)
    return PartRow(f"clip{number}", codes, samples, 24000, NO_METADATA, number, 40000, number)


def machine_note() -> str:
    loads = "/".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{os.cpu_count()} cores, load {loads}, Python {sys.version.split()[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="speech in the shard")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="keep the figures here")
    args = parser.parse_args()
    # The first call pays for imports and the resampling kernel.
    resample(np.zeros(24000, np.float32), 24000, 16000)
    with tempfile.TemporaryDirectory(prefix="xytok-bench-") as name:
        folder = Path(name)
        shard = speech_shard(folder, args.hours)
        run_once(shard, folder / "warm", 1)
        turns = [run_once(shard, folder / f"out{n}", 1) for n in range(args.turns)]
        native = NativeTime()
        with timed_native_calls(native):
            profiled = run_once(shard, folder / "profiled", 1)
        torch.set_num_threads(1)
        most = print_stages(profiled, native)
        held = python_microseconds(folder)
        ratio = codes_ratio(folder, max(1.0, args.hours))
    per_core = statistics.median(turn.per_core for turn in turns)
    best = max(turn.per_core for turn in turns)
    wall = statistics.median(turn.source_seconds / turn.wall_seconds for turn in turns)
    print(f"\n{machine_note()}; {profiled.clips} clips, {profiled.source_seconds / 3600:.2f} h")
    print(f"host path    {per_core:,.0f} x real time per core, best {best:,.0f} (want 1,200)")
    print(f"wall         {wall:,.0f} x real time with one decoding thread")
    print(f"cores for a GPU at 10,000 x real time: {10_000 / per_core:.1f} (want 9 at most)")
    print(f"Python       {held:.0f} us per clip with the GIL (want {WANTED_GIL_MICROSECONDS})")
    print(
        f"             {most:.0f} us with freeing and copying of long clips and waking of threads"
    )
    print(f"codes        {ratio:.4f} x ten bits each (want {WANTED_CODES_RATIO})")
    figures = {
        "per_core": per_core,
        "best": best,
        "wall": wall,
        "gil_us": held,
        "gil_us_most": most,
        "codes": ratio,
    }
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
