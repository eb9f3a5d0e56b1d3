"""How fast the codecs encode here, against the ways that their authors run them.

    python tests/benchmarks/bench_codecs.py                     all of them, in the released sizes
    python tests/benchmarks/bench_codecs.py mimi snac moss      these

Random weights: speed does not depend on values. Codecs of other packages run clip by clip, through
our adapter and as bare classes; those that run over packs (`packed_codecs.py`) take clips of
Emilia's lengths. All ways of a codec run once in every round, with one thread of torch, and
processor seconds count, so that a busy machine can run it.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bench.timing import interleave, paired_ratio
from tests.benchmarks.packed_codecs import PACKED, clip_seconds, packed_ways
from tests.support.tiny_codecs import MAKERS
from xy_codec.engine.threads import threads
from xy_codec.loading import load_codec

CLIPS, SECONDS, ROUNDS = 2, 3, 5
PACKED_CLIPS, LONGEST_SECONDS, PACKED_ROUNDS = 10, 15.0, 3
_HIGGS_RATIOS = [8, 5, 4, 2, 3]
# What a class has by default is the released size, except here.
RELEASED: dict[str, dict[str, Any]] = {
    "dac": {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12},
    "higgs_audio_v2_tokenizer": {
        "target_bandwidths": [0.5, 1, 1.5, 2],
        "acoustic_model_config": {
            "model_type": "dac",
            "encoder_hidden_size": 64,
            "decoder_hidden_size": 1024,
            "hidden_size": 256,
            "downsampling_ratios": _HIGGS_RATIOS,
            "upsampling_ratios": _HIGGS_RATIOS,
        },
    },
    "snac": {"encoder_dim": 48, "decoder_dim": 1024},
    "speechtokenizer": {"n_filters": 64, "dimension": 1024, "semantic_dimension": 768},
}


def main() -> None:
    """Print a row of a table for each codec."""
    names = sys.argv[1:] or [*MAKERS, *PACKED]
    print("| codec | M weights | load | adapter, × real time | adapter / bare class |")
    print("|---|---|---|---|---|")
    for name in (name for name in names if name in MAKERS):
        with tempfile.TemporaryDirectory() as folder:
            print(_row(name, MAKERS[name](Path(folder) / name, sizes=RELEASED.get(name, {}))))
            sys.stdout.flush()
    print("\n| codec | packs, × real time | batch 1 / packs | padded batch of 8 / packs |")
    print("|---|---|---|---|")
    for name in (name for name in names if name in PACKED):
        print(_packed_row(name), flush=True)


def _packed_row(name: str) -> str:
    seconds = clip_seconds(PACKED_CLIPS, LONGEST_SECONDS)
    ways = packed_ways(name, seconds)
    with threads(1):
        taken = interleave(ways, PACKED_ROUNDS, clock=time.process_time)
    others = (paired_ratio(taken[way], taken["packs"]) for way in ("batch 1", "batch 8"))
    cells = (f"{sum(seconds) / taken['packs'].median:.1f}", *map(str, others))
    return f"| {name} | {' | '.join(cells)} |"


def _row(name: str, folder: Path) -> str:
    start = time.process_time()
    codec: Any = load_codec(folder, device="cpu")
    loading = time.process_time() - start
    rate = codec.shape.input_rate_hz
    rng = np.random.default_rng(0)
    clips = [rng.normal(0, 0.1, SECONDS * rate).astype(np.float32) for _ in range(CLIPS)]
    ways = {"adapter": lambda: codec.encode(clips), "bare": _bare(codec, clips)}
    taken = interleave(ways, ROUNDS, clock=time.process_time)
    weights = sum(each.numel() for each in codec._model.module.parameters())
    return (
        f"| {name} | {weights / 1e6:.0f} | {loading:.1f} s | "
        f"{CLIPS * SECONDS / taken['adapter'].best:.1f} | "
        f"{paired_ratio(taken['adapter'], taken['bare'])} |"
    )


def _bare(codec: Any, clips: list[np.ndarray]) -> Callable[[], None]:
    """The loop that a script over the package's own class is."""
    name, module, rate = codec.identity.name, codec._model.module, codec.shape.input_rate_hz

    def encode(clip: np.ndarray) -> object:
        if name in ("snac", "speechtokenizer"):
            return module.encode(torch.from_numpy(clip)[None, None])
        features = codec._model._extractor(clip, sampling_rate=rate, return_tensors="pt")
        if name == "encodec":
            return module.encode(**features, bandwidth=24.0).audio_codes.numpy()
        if name in ("dac", "xcodec", "higgs_audio_v2_tokenizer"):
            return module.encode(features["input_values"]).audio_codes.numpy()
        return module.encode(**features).audio_codes.numpy()

    def run() -> None:
        with torch.inference_mode(), threads(1):
            for clip in clips:
                encode(clip)

    return run


if __name__ == "__main__":
    main()
