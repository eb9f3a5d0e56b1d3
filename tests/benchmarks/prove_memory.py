"""What a worker keeps beside the codec on shards of 1 GB: MP3, FLAC and WAV, local and from S3.

`make prove-memory` prints a table for RESULTS.md: the peak memory of a process that tokenizes one
shard with the codec that costs nothing, less that of one that tokenizes a single clip.
"""

import argparse
import tempfile
from pathlib import Path

from pipeline.storage.client import Storage
from tests.support.peak_memory import peak_mib, write_clips
from tests.support.s3_server import s3_server
from tests.support.shard_maker import audio

CLIP_SECONDS = 10.0
LIMIT_MIB = 512


def main() -> None:
    """Print a line for each kind of audio and place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder) / "server") as server:
        root = Path(folder)
        storage = Storage({"s3": server.storage_options()})
        bucket, _ = storage.filesystem("s3://memory")
        bucket.mkdir("memory")
        base = peak_mib(write_clips(root / "one.tar", 1, audio(CLIP_SECONDS)), root / "one")
        print("| shard | from | clips | beside one clip's process | limit |\n|---|---|---|---|---|")
        for kind in ("mp3", "flac", "wav"):
            payload = audio(CLIP_SECONDS, kind=kind)
            clips = wanted.bytes // len(payload)
            tar = write_clips(root / f"{kind}.tar", clips, payload, kind)
            bucket.put(str(tar), f"memory/{kind}.tar")
            for place, url in (("disk", str(tar)), ("S3", f"s3://memory/{kind}.tar")):
                peak = peak_mib(url, root / f"out-{place}-{kind}", **server.environment())
                size = tar.stat().st_size / 1e9
                cells = (f"{size:.2f} GB {kind}", place, f"{clips:,}", f"{peak - base:.0f} MiB")
                print(f"| {' | '.join(cells)} | {LIMIT_MIB} MiB |", flush=True)
            tar.unlink()


if __name__ == "__main__":
    main()
