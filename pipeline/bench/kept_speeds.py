"""The speeds that `xytok bench` measured on this machine, kept in one file for `xytok plan`.

Each codec with its options, precision and device has one figure, the latest. No run reads them.
"""

import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.bench.machine import cpu_name, num_cores
from pipeline.worker.codec_request import CodecRequest

logger = logging.getLogger(__name__)


def speeds_path() -> Path:
    """Where the speeds are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xytok" / "speeds.json"


def keep_speed(request: CodecRequest, times_realtime: float, device: str) -> Path:
    """Keep the speed of a worker with this codec; a home that cannot be written is only told."""
    path = speeds_path()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    kept = _read(path) | {_key(request): [times_realtime, device, day]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        logger.warning("The speed is not kept for `xytok plan`: %s", error)
    return path


def find_speed(request: CodecRequest) -> tuple[float, str] | None:
    """The speed that was measured here with this codec, and on which device when."""
    found = _read(speeds_path()).get(_key(request))
    if found is None:
        return None
    times_realtime, device, day = found
    return float(times_realtime), f"{device}, {day}"


def _key(request: CodecRequest) -> str:
    # The folder may be shared by machines.
    asked = asdict(request) | {"options": sorted(request.options)}
    del asked["staged"]  # no matter of speed
    return json.dumps(asked | {"cpu": cpu_name(), "cores": num_cores()}, sort_keys=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
