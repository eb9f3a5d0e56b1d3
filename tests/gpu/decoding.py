"""Stage 4, first half: how fast codes become sound: in tiles, as one program, and as its graph."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tests.gpu.device_trace import trace
from tests.gpu.encoding import timed
from tests.gpu.goldens import Codes
from tests.gpu.models import Models, Wave, emilia_clips
from tests.gpu.record import Record


def run(record: Record, models: Models) -> None:
    """Decoding is in float32 whatever the precision of encoding."""
    clips = emilia_clips(3 if models.is_small else 64)
    codes = models.codec(models.main, "exact").encode(clips)
    record.attempt("exact.tiles", decode_speed, models, "tiles", codes, clips, ())
    record.attempt("exact.pack", decode_speed, models, "pack", codes, clips, ("tiles",))
    # On a CPU nothing is captured.
    if models.device.type == "cuda":
        others = ("tiles", "pack")
        record.attempt("exact.graph", decode_speed, models, "graph", codes, clips, others)


def decode_speed(
    models: Models,
    program: str,
    codes: Sequence[Codes],
    clips: Sequence[Wave],
    others: Sequence[str],
) -> dict[str, Any]:
    """Speed over Emilia's lengths, what the device does, and how other programs' samples differ."""
    codec = models.codec(models.main, "exact", program=program)
    action = partial(codec.decode, codes)
    found = timed(action, clips, models)
    before = codec.counters.packs_run
    traced = trace(action, models.device)
    seconds = found["audio_seconds"] / found["times_realtime"]
    found |= {
        "packs": codec.counters.packs_run - before or None,
        "launches": traced.launches,
        "copies": traced.copies,
        "waits": traced.waits,
        "busy_share": traced.busy / 1e3 / seconds if traced.busy else None,
    }
    waves = action()
    for other in others:
        theirs = models.codec(models.main, "exact", program=other).decode(codes)
        pairs = zip(waves, theirs, strict=True)
        distances = [float(np.abs(a - b).max(initial=0.0)) for a, b in pairs]
        found[f"largest_difference_from_{other}"] = max(distances)
    return found
