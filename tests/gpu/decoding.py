"""Stage 4, first half: how fast codes become sound."""

from functools import partial
from typing import Any

from tests.gpu.device_trace import trace
from tests.gpu.encoding import timed
from tests.gpu.models import Models, emilia_clips
from tests.gpu.record import Record


def run(record: Record, models: Models) -> None:
    """Decoding is in float32 whatever the precision of encoding."""
    record.attempt("exact", decode_speed, models)


def decode_speed(models: Models) -> dict[str, Any]:
    """Speed over Emilia's lengths, and the share of time that the device works."""
    codec = models.codec(models.main, "exact")
    clips = emilia_clips(3 if models.is_small else 64)
    action = partial(codec.decode, codec.encode(clips))
    found = timed(action, clips, models)
    traced = trace(action, models.device)
    seconds = found["audio_seconds"] / found["times_realtime"]
    return {
        **found,
        "launches": traced.launches,
        "copies": traced.copies,
        "busy_share": traced.busy / 1e3 / seconds if traced.busy else None,
    }
