"""How fast the workers of a run have been so far, told from its event logs."""

from dataclasses import dataclass

from pipeline.output.events import read_events
from pipeline.storage.client import Storage


@dataclass(slots=True)
class _Span:
    began: float
    ended: float


def speed_so_far(storage: Storage, output: str) -> tuple[float, int] | None:
    """Seconds of speech per second of a worker, and from how many shards; None before the first.

    A worker's time begins with its first shard in a command and ends with its last one there.
    """
    spans: dict[tuple[int, str], _Span] = {}
    command = num_shards = 0
    speech_seconds = 0.0
    for event in read_events(storage, output):
        command += event.get("event") == "run_started"
        if event.get("event") != "shard_done":
            continue
        ended = float(event["time"])
        began = ended - float(event["seconds"])
        span = spans.setdefault((command, str(event["worker"])), _Span(began, ended))
        span.began, span.ended = min(span.began, began), max(span.ended, ended)
        speech_seconds += float(event["source_seconds"])
        num_shards += 1
    worker_seconds = sum(span.ended - span.began for span in spans.values())
    if not speech_seconds or worker_seconds <= 0:
        return None
    return speech_seconds / worker_seconds, num_shards
