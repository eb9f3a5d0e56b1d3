"""An export that is killed again and again, and what is left when it was allowed to end."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Longer than any of these exports takes; one that hangs must not hold up the tests.
_SECONDS = 120
_LOOK_EVERY_SECONDS = 0.001


def export_command(run: Path, destination: Path, *options: str) -> list[str]:
    words = ["export", str(run), str(destination), "--quiet", *options]
    return [sys.executable, "-m", "jobs", *words]


def kill_when(command: Sequence[str], destination: Path, num_files: int) -> bool:
    """Kill the command once so many files are there; False where it had ended before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _SECONDS
        while process.poll() is None and time.monotonic() < end:
            if sum(path.is_file() for path in destination.rglob("*")) >= num_files:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(_LOOK_EVERY_SECONDS)
        if process.wait(timeout=1):
            raise AssertionError(f"the export ended with {process.returncode}")
        return False
    finally:
        process.kill()
        process.wait()
