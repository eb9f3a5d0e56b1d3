"""The tuning profile: the settings that `xytok bench` found fastest on this machine, in a file.

`xytok bench --save-tuning` writes it, `xytok tokenize --tuning` reads it. Tuning changes no byte of
the output, so the profile of another machine only costs speed.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.errors import InputError
from xy_codec.validation import faults

_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class TuningProfile:
    """The fastest settings, and the machine on which they were measured."""

    cpu: str
    cores: _Count
    device: str
    decode_threads: _Count
    ahead_seconds: Annotated[float, Field(gt=0)]
    buffers_in_flight: _Count
    format: Literal[1] = 1


def write_profile(path: Path, profile: TuningProfile) -> None:
    """Write a profile by a temporary file, so that readers never see half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(
        json.dumps(asdict(profile), indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    temporary.replace(path)


def read_profile(path: Path) -> TuningProfile:
    """The profile in a file; raises when it is not one that `xytok bench` wrote."""
    try:
        return TypeAdapter(TuningProfile).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        wrong = faults(error, TuningProfile) if isinstance(error, ValidationError) else [error]
        raise InputError(
            f"Profile `{path}` cannot be read ({'; '.join(map(str, wrong))}); expected the JSON "
            "that `xytok bench` writes; run `xytok bench` again, or leave `--tuning` out"
        ) from error
