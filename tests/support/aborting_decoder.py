"""Decoders that behave badly on clips that ask for it, for tests of what a worker survives."""

import os
import time
from typing import Any

from pipeline.corpus.decode import decode_clip

ABORT = b"please abort"
HANG = b"please hang"


def decode_or_abort(payload: bytes, *rest: Any) -> Any:
    """Decode like the real one, but end the process on a marked clip."""
    if payload.startswith(ABORT):
        os.abort()
    if payload.startswith(HANG):
        time.sleep(3600)
    return decode_clip(payload, *rest)
