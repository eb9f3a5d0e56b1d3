"""Writes `xy_nano.json`: the codes of the bundled checkpoint for a few bundled clips.

    python tests/golden/make_xy_nano.py

Run it whenever `xy_codec/checkpoints/xy-nano` changes, and commit both together.
"""

import hashlib
import io
import itertools
import json

import numpy as np
import soundfile

from tests.support.places import GOLDEN, SPEECH
from tests.support.shard_maker import read_members
from xy_codec import load_codec
from xy_codec.audio import mono, resample
from xy_codec.weights.source import BUNDLED

EXPECTED = GOLDEN / "xy_nano.json"
SHARDS = ("Emilia/EN/EN-B000000.tar", "Emilia-YODAS/RU/RU-B000000.tar")
CLIPS = 3  # of each shard


def golden_waves() -> dict[str, np.ndarray]:
    """The first clips of the shards at 16 kHz, by key."""
    waves = {}
    for shard in SHARDS:
        clips = read_members(SPEECH / shard, ".mp3")
        for name, content in itertools.islice(clips.items(), CLIPS):
            samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
            waves[name.removesuffix(".mp3")] = resample(mono(samples), rate_hz, 16000)
    return waves


def weights_sha256() -> str:
    """What the golden codes belong to."""
    return hashlib.sha256((BUNDLED / "xy-nano" / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    """Encode and write."""
    codec = load_codec("xy-nano", device="cpu")
    waves = golden_waves()
    codes = codec.encode(list(waves.values()))
    kept = {key: each.tolist() for key, each in zip(waves, codes, strict=True)}
    golden = {"weights_sha256": weights_sha256(), "codes": kept}
    EXPECTED.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
