"""Proves and measures the codec on a GPU in a few minutes; one JSON file a stage.

    python3 tests/gpu/run.py --minutes 6              everything, on the GPU
    python3 tests/gpu/run.py --small --device cpu     the reduced form, anywhere

Needs Python 3.11, torch, numpy, pyyaml and safetensors; no make, no pip, no network.
A stage whose file says `done` is skipped, so the same command goes on where it was stopped. Where a
stage loses the device, crashes or hangs, those behind it run in a new process.
"""

import argparse
import faulthandler
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.gpu.machine import answers, describe, travel_lines
from tests.gpu.models import CARRIED, Models
from tests.gpu.record import Record, end_record, is_done
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
# A stage that is not over so long after its time hangs, and its process is ended.
_HANG_SECONDS = 15.0
_NO_DEVICE, _LOST = 2, 3


def main(words: list[str] | None = None) -> int:
    """Run the stages that are left; 1 if one of them failed, 2 without the device."""
    args = _arguments(words)
    carried = [CARRIED] if CARRIED.exists() else []
    print("\n".join(travel_lines(carried)), flush=True)
    deadline = time.monotonic() + 60 * args.minutes - _SPARE_SECONDS
    left = list(args.stages)
    # Processes touch the device, never this one: what a process has lost, the next one has again.
    processes = multiprocessing.get_context("fork")
    while left:
        number = processes.Value("i", -1)
        worker = processes.Process(target=_run_stages, args=(args, left, deadline, number))
        worker.start()
        worker.join()
        if worker.exitcode == _NO_DEVICE:
            return _NO_DEVICE
        if worker.exitcode == 0:
            break
        if number.value < 0:
            print(f"ended with exit status {worker.exitcode} before the first stage")
            return 1
        name = left[number.value]
        end_record(args.out / f"{name}.json", f"its process ended ({worker.exitcode})")
        left = left[number.value + 1 :]
        print(f"{name}: the stages behind it run in another process", flush=True)
    records = read_records(args.out)
    print("\n".join(summary_lines(records)), flush=True)
    return int(any(records.get(name, {}).get("state") == "failed" for name in args.stages))


def _run_stages(args: argparse.Namespace, left: list[str], deadline: float, number: Any) -> None:
    """The stages one after the other; says in `number` which one it is at."""
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch sees no CUDA device; expected one. Use `--device cpu --small` for a trial.")
        sys.exit(_NO_DEVICE)
    faulthandler.enable()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.set_num_threads(num_cores())
        torch.cuda.set_device(device.index or 0)
    about = {**describe(device), "models": "small" if args.small else "full size"}
    about["commit"] = args.commit or about["commit"]
    print(f"{about['device']}, torch {about['torch']}, {about['commit']}", flush=True)
    models = Models(device, is_small=args.small)
    for number.value, name in enumerate(left):
        share = STAGES[name][1] / sum(STAGES[other][1] for other in left[number.value :])
        if not _one(name, args.out, about, models, share * (deadline - time.monotonic())):
            # At once: ending as usual would wait for the device.
            os._exit(_LOST)


def _one(name: str, out: Path, about: dict[str, object], models: Models, seconds: float) -> bool:
    """Run one stage, unless it is done or there is no time; whether the device is left."""
    path = out / f"{name}.json"
    if is_done(path):
        print(f"{name}: done before, skipped", flush=True)
        return True
    record = Record(path, name, about, seconds, lambda: answers(models.device))
    if record.seconds < 1:
        record.content["state"] = "cut"
        record.note("not begun: no time was left")
        return True
    print(f"{name}: at most {record.seconds:.0f} s", flush=True)
    faulthandler.dump_traceback_later(record.seconds + _HANG_SECONDS, exit=True)
    is_left = record.run(lambda one: STAGES[name][0](one, models))
    faulthandler.cancel_dump_traceback_later()
    print(f"{name}: {record.state} after {record.content['seconds']} s", flush=True)
    return is_left


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
