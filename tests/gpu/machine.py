"""The machine and the checkout that a record was made on, and what would travel to another one."""

import datetime
import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.bench.machine import cpu_name, num_cores
from tests.support.places import ROOT

TRAVEL_LIMIT_BYTES = 64 * 2**20
# No stage reads these: the largest first.
_NOT_NEEDED = ("pipeline/audit/metrics/models/campplus.onnx", "tests/speech")


def describe(device: torch.device) -> dict[str, Any]:
    """Device, driver, versions, date and commit."""
    on_gpu = device.type == "cuda"
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _output("git", "rev-parse", "--short=12", "HEAD") or "not a git checkout",
        "changed_files": len(_output("git", "status", "--porcelain").splitlines()),
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        if on_gpu
        else "",
        "cuda": torch.version.cuda or "",
        "torch": torch.__version__,
        "triton": _version("triton"),
        # Triton needs one, to launch what it has compiled.
        "c_compiler": shutil.which("cc") or shutil.which("gcc") or "",
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": num_cores(),
    }


def answers(device: torch.device) -> bool:
    """Whether the device still works in this process."""
    try:
        return bool(torch.ones(1, device=device).item() == 1)
    except torch.cuda.OutOfMemoryError:
        return True
    except RuntimeError:
        return False


def travel_lines(carried: Sequence[Path]) -> list[str]:
    """What a copy of the working tree and of carried folders would weigh, against 64 MiB."""
    listed = _output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = [ROOT / name for name in listed.split("\0") if name]
    if not files:
        return ["working tree: not a git checkout, its size was not added up"]
    tree = sum(path.lstat().st_size for path in files if path.exists())
    extra = sum(_folder_bytes(folder) for folder in carried)
    lines = [
        f"working tree {tree / 2**20:.1f} MiB + carried {extra / 2**20:.1f} MiB = "
        f"{(tree + extra) / 2**20:.1f} of {TRAVEL_LIMIT_BYTES / 2**20:.0f} MiB"
    ]
    over = tree + extra - TRAVEL_LIMIT_BYTES
    if over > 0:
        spare = ", ".join(
            f"`{name}` ({_folder_bytes(ROOT / name) / 2**20:.1f} MiB)" for name in _NOT_NEEDED
        )
        lines.append(
            f"over by {over / 2**20:.1f} MiB: no stage reads {spare}: delete them for the copy and "
            "get them back with `git checkout` afterwards; then leave out groups of the carried "
            "golden folder from its end"
        )
    return lines


def _version(package: str) -> str:
    """The version of a package; nothing where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _folder_bytes(folder: Path) -> int:
    files = [folder] if folder.is_file() else folder.rglob("*")
    return sum(path.lstat().st_size for path in files if path.is_file())


def _output(*words: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip("\n") if done.returncode == 0 else ""
