"""Stage 3: one pack under the profiler: kernels, launches, gaps, copies and waits."""

from functools import partial

from tests.gpu.device_trace import trace
from tests.gpu.goldens import one_pack
from tests.gpu.models import Models, emilia_clips
from tests.gpu.record import Record

_WARM_UPS = 3


def run(record: Record, models: Models) -> None:
    """Both precisions; `fast` first, which is the one to speed up."""
    for precision in ("fast", "exact"):
        record.attempt(precision, profile_pack, models, precision, "tiles")


def profile_pack(models: Models, precision: str, program: str) -> dict[str, object]:
    """A full pack of clips of Emilia's lengths."""
    codec = models.codec(models.main, precision, program=program)
    clips = [clip for clip in emilia_clips(40) if len(clip) <= codec.plan.step_frames * 1280]
    clips = [clips[i] for i in one_pack(codec, clips)][: 3 if models.is_small else None]
    action = partial(codec.encode, clips)
    for _ in range(_WARM_UPS):
        action()
    return {
        "clips": len(clips),
        "audio_seconds": sum(map(len, clips)) / 16000,
        **trace(action, models.device).to_dict(),
    }
