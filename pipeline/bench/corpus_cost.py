"""The cost of a corpus in hours, cores, network and requests, computed from measured speeds.

Pure arithmetic: `xytok bench` passes speeds that it measured or that the user assumed.
"""

import math
from dataclasses import dataclass

from pipeline.storage.streams import BLOCK_BYTES

SECONDS_PER_HOUR = 3600.0
_MP3_BITS_PER_SECOND = 56_000
_WRITES_PER_SHARD = 3  # a part, a reject file and a manifest


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus to be tokenized."""

    name: str
    hours: float
    clips: float
    shards: int
    size_bytes: float

    @classmethod
    def of_hours(cls, hours: float, shard_bytes: float = 1e9) -> "Corpus":
        """A corpus like Emilia: 9.9 s clips, 56 kbit/s, in shards of one gigabyte."""
        size = hours * SECONDS_PER_HOUR * _MP3_BITS_PER_SECOND / 8
        clips = hours * SECONDS_PER_HOUR / 9.9
        return cls(f"{hours:,.0f} h", hours, clips, max(1, math.ceil(size / shard_bytes)), size)


@dataclass(frozen=True, slots=True)
class Speeds:
    """The speeds of one worker and of the driver, and the number of workers.

    `encode` is the speed of a whole worker, `host_per_core` that of one core for everything but the
    codec; both in audio seconds per second. `codes_bytes_per_second` is what is written.
    """

    workers: int
    encode: float
    host_per_core: float
    start_up_seconds: float
    driver_seconds_per_shard: float
    codes_bytes_per_second: float


@dataclass(frozen=True, slots=True)
class CorpusCost:
    """What a run over the corpus takes."""

    device_hours: float
    wall_hours: float
    start_up_share: float
    last_shard_seconds: float
    cores_per_worker: float
    read_gbit_per_second: float
    requests: int
    requests_per_second: float
    driver_share: float
    output_bytes: float


def estimate_cost(corpus: Corpus, speeds: Speeds) -> CorpusCost:
    """Time, network, requests and driver load of one run over the corpus."""
    encode_seconds = corpus.hours * SECONDS_PER_HOUR / speeds.encode
    workers = min(speeds.workers, corpus.shards)
    working = encode_seconds / workers
    # Workers wait at the end for at most one shard, because the largest shards go first.
    last = encode_seconds / corpus.shards
    wall = speeds.start_up_seconds + working + last
    requests = _requests(corpus)
    return CorpusCost(
        device_hours=(encode_seconds + workers * speeds.start_up_seconds) / SECONDS_PER_HOUR,
        wall_hours=wall / SECONDS_PER_HOUR,
        start_up_share=speeds.start_up_seconds / wall,
        last_shard_seconds=last,
        cores_per_worker=speeds.encode / speeds.host_per_core,
        read_gbit_per_second=corpus.size_bytes * 8 / working / 1e9,
        requests=requests,
        requests_per_second=requests / working,
        driver_share=corpus.shards * speeds.driver_seconds_per_shard / working,
        output_bytes=corpus.hours * SECONDS_PER_HOUR * speeds.codes_bytes_per_second,
    )


def _requests(corpus: Corpus) -> int:
    reads = math.ceil(corpus.size_bytes / corpus.shards / BLOCK_BYTES) * corpus.shards
    # Inputs and manifests are listed, up to 1,000 names a request.
    listings = 2 * math.ceil(corpus.shards / 1000)
    return reads + _WRITES_PER_SHARD * corpus.shards + listings
