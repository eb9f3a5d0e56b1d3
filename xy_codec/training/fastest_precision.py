"""Which precision is the fastest here, by trying each: it depends on the processor.

On a CPU without bfloat16 products, bfloat16 took 12 times as long as float32.
"""

import logging
import time

import torch

from xy_codec.training.batch import Batch
from xy_codec.training.ranks import add_up
from xy_codec.training.stage import Stage

logger = logging.getLogger(__name__)
PRECISIONS = ("float32", "bfloat16")
_TRIALS = 3  # after one that is not counted


def fastest_precision(stage: Stage, batches: list[Batch], rate_hz: int) -> str:
    """Try a few steps in each precision, without learning from them; the log has the speeds."""
    seconds = dict.fromkeys(PRECISIONS, float("inf"))
    # By turns and the best of each, because other programs of this machine slow some trials down.
    for trial in range(1 + _TRIALS):
        for precision in PRECISIONS:
            found = _seconds(stage, batches, precision)
            seconds[precision] = min(seconds[precision], found if trial else float("inf"))
    # Together, so that all processes choose the same.
    device = next(stage.codec.parameters()).device
    totals = add_up(torch.tensor(list(seconds.values()), device=device)).tolist()
    heard = sum(int(batch.lengths.sum()) for batch in batches) / rate_hz
    speeds = {name: heard / mine for name, mine in seconds.items()}
    chosen = min(zip(totals, seconds, strict=True))[1]
    shown = ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items())
    logger.info("Precision `%s`; tried, in s of audio per second of a process: %s", chosen, shown)
    return chosen


def _seconds(stage: Stage, batches: list[Batch], precision: str) -> float:
    stage.precision = precision
    begun = time.perf_counter()
    stage.gradients(batches, stage.trial_step)  # reads its losses, so a GPU has ended
    taken = time.perf_counter() - begun
    stage.discard()
    return taken
