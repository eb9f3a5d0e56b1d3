"""Stage 2: how fast clips of Emilia's lengths become codes, and what the device could do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from pipeline.bench.flops import matmul_peak, record_matrix_work
from pipeline.bench.timing import repeat_for, synchronised
from tests.gpu.device_trace import trace
from tests.gpu.models import Models, Wave, emilia_clips
from tests.gpu.record import Record
from xy_codec.xy.model import XYTokenizer

_PACK_STEPS = (4096, 16384, 32768)
_PADDED_BATCHES = (1, 8, 32)
_WINDOW_SAMPLES = 480_000
_DTYPES = {"exact": torch.float32, "fast": torch.float16}


def run(record: Record, models: Models) -> None:
    """Peaks; both precisions, twice; the padded way; then other pack sizes."""
    clips = emilia_clips(2 if models.is_small else 160)
    record.put("clips", len(clips))
    record.put("audio_seconds", sum(map(len, clips)) / 16000)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        if models.device.type == "cuda" or dtype is torch.float32:
            # The switches of precision (TF32 off) are those that opening a codec has set.
            models.codec(models.main, "exact")
            record.attempt(f"matmul_peak.{name}", matmul_peak, str(models.device), dtype)
    for precision in ("exact", "fast"):
        record.attempt(f"{precision}.first", _speed, models, precision, clips)
        first = record.found[precision]["first"]
        if "error" not in first:
            record.attempt(f"{precision}.device", _device, models, precision, clips, first)
            record.attempt(f"{precision}.work", _work, record, models, precision, clips, first)
    few = clips[: 1 if models.is_small else 32]
    for precision in ("exact", "fast"):
        if precision == "exact" or models.device.type == "cuda":
            record.attempt(f"padded.{precision}", _padded, models, precision, few)
    _ratios(record)
    for precision in ("exact", "fast"):
        record.attempt(f"{precision}.again", _speed, models, precision, clips)
    if not models.is_small:
        for precision in ("fast", "exact"):
            for steps in _PACK_STEPS:
                name = f"{precision}.steps_{steps}"
                record.attempt(name, _other_pack, models, precision, steps, clips)


def _device(
    models: Models, precision: str, clips: Sequence[Wave], first: Mapping[str, float]
) -> dict[str, Any]:
    """The share of time that the device works, and how often it is called."""
    codec = models.codec(models.main, precision)
    before = codec.counters.packs_run
    traced = trace(partial(codec.encode, clips), models.device)
    packs = codec.counters.packs_run - before
    # Kernel times are those of the profiled run, the wall time is that of the others.
    seconds = first["audio_seconds"] / first["times_realtime"]
    return {
        "packs": packs,
        "busy_share": traced.busy / 1e3 / seconds if traced.busy else None,
        "launches_per_pack": traced.launches / packs,
        "launches_per_audio_second": traced.launches / first["audio_seconds"],
        "copies": traced.copies,
        "waits": traced.waits,
    }


def _work(
    record: Record,
    models: Models,
    precision: str,
    clips: Sequence[Wave],
    first: Mapping[str, float],
) -> dict[str, Any]:
    """The arithmetic, and its share of what the device does in one large product."""
    work = record_matrix_work(partial(models.codec(models.main, precision).encode, clips))
    peak = record.found["matmul_peak"].get(str(_DTYPES[precision]).removeprefix("torch."))
    rate = work.flops / first["audio_seconds"] * first["times_realtime"]
    return {
        "gflop_per_audio_second": work.flops / first["audio_seconds"] / 1e9,
        "share_of_matmul_peak": rate / peak if isinstance(peak, float) else None,
    }


def _speed(models: Models, precision: str, clips: Sequence[Wave]) -> dict[str, Any]:
    return timed(partial(models.codec(models.main, precision).encode, clips), clips, models)


def timed(
    action: Callable[[], object],
    clips: Sequence[Wave],
    models: Models,
    repeats: int = 5,
    rate_hz: int = 16000,
) -> dict[str, Any]:
    """The median of a few runs after one that warms up, as audio seconds a second."""
    run_once = synchronised(action)
    run_once()
    timings = repeat_for(run_once, 0.1 if models.is_small else 6.0, at_most=repeats)
    audio = sum(map(len, clips)) / rate_hz
    return {
        "times_realtime": audio / timings.median,
        "best": audio / timings.best,
        "repeats": len(timings.seconds),
        "audio_seconds": audio,
    }


def _other_pack(models: Models, precision: str, steps: int, clips: Sequence[Wave]) -> Any:
    """The speed with another number of steps in every product; its codes are another identity's."""
    codec = models.codec(models.main, precision)
    before = codec.geometry
    codec.geometry = replace(before, tile_steps=steps, pack_steps=steps)
    try:
        return timed(partial(codec.encode, clips), clips, models)
    finally:
        codec.geometry = before


def _padded(models: Models, precision: str, clips: Sequence[Wave]) -> dict[str, Any]:
    """The reference's way: every window padded to 30 s; the best of a few batch sizes."""
    model = models.reference()
    plan = models.codec(models.main, "exact").plan
    windows = [clip[w.start : w.stop] for clip in clips for w in plan.encode_windows(len(clip))]
    found = {}
    for size in _PADDED_BATCHES[: 1 if models.is_small else None]:
        action = partial(_encode_padded, model, windows, size, _DTYPES[precision], models.device)
        found[f"batch_{size}"] = timed(action, clips, models, repeats=3)
    best = max(found, key=lambda name: float(found[name]["times_realtime"]))
    return {**found, "best_batch": best, "times_realtime": found[best]["times_realtime"]}


@torch.inference_mode()
def _encode_padded(
    model: XYTokenizer,
    windows: Sequence[Wave],
    size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    for first in range(0, len(windows), size):
        batch = windows[first : first + size]
        padded = torch.zeros(len(batch), _WINDOW_SAMPLES)
        for row, samples in zip(padded, batch, strict=True):
            row[: len(samples)] = torch.from_numpy(samples)
        lengths = torch.tensor([len(samples) for samples in batch])
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            model.encode(padded.to(device), lengths.to(device)).cpu()


def _ratios(record: Record) -> None:
    """How many times faster than the padded way, in the same precision and against its float32."""
    for precision in ("exact", "fast"):
        ours = record.found.get(precision, {}).get("first", {}).get("times_realtime")
        for other in ("exact", "fast"):
            theirs = record.found.get("padded", {}).get(other, {}).get("times_realtime")
            if ours and theirs:
                record.put(f"over_padded.{precision}_over_{other}", ours / theirs)
