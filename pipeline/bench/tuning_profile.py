"""The tuning profile: the settings that `xytok bench` found fastest on this machine, in a file.

`xytok tokenize` reads it. Tuning changes no byte of the output, so an old or missing profile only
costs speed.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.bench.machine import cpu_name, num_cores
from pipeline.errors import InputError

logger = logging.getLogger(__name__)
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TuningProfile:
    """The fastest settings, and the machine on which they were measured."""

    cpu: str
    cores: int
    device: str
    decode_threads: int
    ahead_seconds: float
    buffers_in_flight: int

    def fits(self, cpu: str, cores: int) -> bool:
        """Whether it was measured on a machine with this processor and number of cores."""
        return (self.cpu, self.cores) == (cpu, cores)


def default_path() -> Path:
    """Where the profile is kept unless `--profile` names another file."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "xytok" / "profile.json"


def find_profile(path: Path | None, *, use_default: bool) -> TuningProfile | None:
    """The profile in `path`; without one and with `use_default`, the one of this machine."""
    if path is not None:
        return read_profile(path)
    if not use_default or not default_path().exists():
        return None
    try:
        profile = read_profile(default_path())
    except InputError as error:
        logger.warning("%s", error)
        return None
    return profile if profile.fits(cpu_name(), num_cores()) else None


def write_profile(path: Path, profile: TuningProfile) -> None:
    """Write a profile by a temporary file, so that readers never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": _FORMAT} | asdict(profile)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_profile(path: Path) -> TuningProfile:
    """The profile in a file; raises when it is not one that `xytok bench` wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format")
        profile = TuningProfile(**content)
        _check(version, profile)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"Profile `{path}` cannot be read ({error}); expected the JSON that `xytok bench` "
            "writes; run `xytok bench` again, or leave `--profile` out"
        ) from error
    return profile


def _check(version: object, profile: TuningProfile) -> None:
    if version != _FORMAT:
        raise ValueError(f"format {version!r}, expected {_FORMAT}")
    counts = (profile.decode_threads, profile.buffers_in_flight, profile.cores)
    if not all(type(count) is int and count >= 1 for count in counts):
        raise ValueError(f"threads, buffers and cores are {counts}, expected whole numbers from 1")
    if not profile.ahead_seconds > 0:
        raise ValueError(f"ahead_seconds is {profile.ahead_seconds!r}, expected more than 0")
