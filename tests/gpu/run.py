"""Proves and measures the codec on a GPU in a few minutes; one JSON file a stage.

    python3 tests/gpu/run.py --minutes 6              everything, on the GPU
    python3 tests/gpu/run.py --small --device cpu     the reduced form, anywhere

Needs Python 3.11, torch, numpy, pyyaml and safetensors; no make, no pip, no network.
A stage whose file says `done` is skipped, so the same command goes on where it was stopped.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from pipeline.bench.machine import num_cores
from tests.gpu import (
    decoding,
    encoding,
    goldens,
    one_shape,
    other_codecs,
    pack_profile,
    training_step,
)
from tests.gpu.machine import describe, travel_lines
from tests.gpu.models import CARRIED, Models
from tests.gpu.record import Record, is_done
from tests.gpu.report import read_records, summary_lines
from tests.support.places import ROOT

# In the order of their worth, with the weight of each in sharing out the time that is left.
STAGES: dict[str, tuple[Callable[[Record, Models], None], float]] = {
    "goldens": (goldens.run, 9),
    "speed": (encoding.run, 8),
    "one_shape": (one_shape.run, 6),
    "profile": (pack_profile.run, 2),
    "decode": (decoding.run, 2),
    "codecs": (other_codecs.run, 6),
    "training": (training_step.run, 4),
}
_SPARE_SECONDS = 5.0


def main(words: list[str] | None = None) -> int:
    """Run the stages that are left; 1 if one of them failed, 2 without the device."""
    args = _arguments(words)
    carried = [CARRIED] if CARRIED.exists() else []
    print("\n".join(travel_lines(carried)), flush=True)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch sees no CUDA device; expected one. Use `--device cpu --small` for a trial.")
        return 2
    deadline = time.monotonic() + 60 * args.minutes - _SPARE_SECONDS
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.set_num_threads(num_cores())
        torch.cuda.set_device(device.index or 0)
    about = {**describe(device), "models": "small" if args.small else "full size"}
    about["commit"] = args.commit or about["commit"]
    print(f"{about['device']}, torch {about['torch']}, {about['commit']}", flush=True)
    models = Models(device, is_small=args.small)
    left = list(args.stages)
    failed = 0
    while left:
        share = STAGES[left[0]][1] / sum(STAGES[name][1] for name in left)
        failed += _one(left.pop(0), args.out, about, models, (deadline, share))
    print("\n".join(summary_lines(read_records(args.out))), flush=True)
    return int(failed > 0)


def _one(
    name: str, out: Path, about: dict[str, object], models: Models, time_left: tuple[float, float]
) -> bool:
    """Run one stage, unless it is done or there is no time; whether it failed."""
    deadline, share = time_left
    path = out / f"{name}.json"
    if is_done(path):
        print(f"{name}: done before, skipped", flush=True)
        return False
    record = Record(path, name, about, share * (deadline - time.monotonic()))
    if record.seconds < 1:
        record.content["state"] = "cut"
        record.note("not begun: no time was left")
        return False
    print(f"{name}: at most {record.seconds:.0f} s", flush=True)
    record.run(lambda one: STAGES[name][0](one, models))
    print(f"{name}: {record.state} after {record.content['seconds']} s", flush=True)
    return record.state == "failed"


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("OUT") or ROOT / "tests" / "gpu" / "results"
    parser.add_argument("--minutes", type=float, default=6.0, help="for all stages together")
    parser.add_argument("--out", type=Path, default=Path(default), help="default: $OUT, or results")
    parser.add_argument("--stages", default=",".join(STAGES), help="in this order; default: all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--commit", default="", help="to record where there is no git checkout")
    parser.add_argument("--small", action="store_true", help="small models and few repetitions")
    args = parser.parse_args(words)
    args.stages = args.stages.split(",")
    unknown = [name for name in args.stages if name not in STAGES]
    if unknown:
        parser.error(f"--stages has {', '.join(unknown)}; expected some of {', '.join(STAGES)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
