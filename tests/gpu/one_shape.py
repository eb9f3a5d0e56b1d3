"""Stage 3: packs of one shape: the codes of the reference, bits, speed, as a graph and compiled.

A stage of its own, and after those of tiles: a kernel that goes wrong on a GPU takes all that the
process does there afterwards with it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tests.gpu.encoding import timed
from tests.gpu.goldens import Kind, golden_cases, invariance
from tests.gpu.models import FULL, SMALL, Models, Wave, emilia_clips
from tests.gpu.pack_profile import profile_pack
from tests.gpu.record import Record

_COMPILE_SECONDS = 25.0


def run(record: Record, models: Models) -> None:
    """Codes and bits of the program itself; then its speed, and that of its graph."""
    packs = 5 if models.is_small else 200
    clips = emilia_clips(2 if models.is_small else 160)
    for precision in ("exact", "fast"):
        for group in [SMALL] if models.is_small else [SMALL, FULL]:
            kind = Kind(group, precision, "pack")
            record.attempt(kind.name, golden_cases, record, models, kind)
            record.attempt(f"invariance.{kind.name}", invariance, models, kind, packs)
    for precision in ("fast", "exact"):
        record.attempt(f"speed.{precision}.pack", _speed, models, precision, "pack", clips, ())
        # On a CPU nothing is captured.
        if models.device.type == "cuda":
            others = ("pack",)
            record.attempt(
                f"speed.{precision}.graph", _speed, models, precision, "graph", clips, others
            )
            record.attempt(f"profile.{precision}", profile_pack, models, precision, "graph")
    if not models.is_small:
        for precision in ("fast", "exact"):
            _compiled(record, models, precision, clips)


def _compiled(record: Record, models: Models, precision: str, clips: Sequence[Wave]) -> None:
    name = f"speed.{precision}.compiled"
    if record.left < _COMPILE_SECONDS:
        record.note(f"{name} left out: {record.left:.0f} s are too few to compile in")
        return
    record.attempt(name, _speed, models, precision, "compiled", clips, ("pack",))


def _speed(
    models: Models, precision: str, program: str, clips: Sequence[Wave], others: Sequence[str]
) -> Mapping[str, Any]:
    """The speed of a program, and the share of its codes that others give otherwise."""
    codec = models.codec(models.main, precision, program=program)
    found = timed(partial(codec.encode, clips), clips, models)
    codes = codec.encode(clips)
    for other in ("tiles", *others):
        theirs = models.codec(models.main, precision, program=other).encode(clips)
        differ = np.concatenate([(a != b).ravel() for a, b in zip(codes, theirs, strict=True)])
        found[f"codes_unlike_{other}"] = float(differ.mean())
    return found
