"""What a command costs in memory and processor time, and shards made for it."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.shard_maker import emilia_json

# Tells its processor seconds and its own peak in kB: what the system tells of a child may be the
# memory of its parent.
_CODE = """
import re, sys, time
from jobs.cli import run
code = run(sys.argv[1:])
memory = re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1]
print(time.process_time(), memory)
sys.exit(code)
"""


def measured(*words: str, **environment: str) -> tuple[float, float]:
    """The processor seconds and the peak in MiB of a command, its start included."""
    command = [sys.executable, "-c", _CODE, *words]
    env = os.environ | environment
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split()[-2:])
    return seconds, kilobytes / 1024


def peak_mib(tar: Path | str, output: Path | str, **environment: str) -> float:
    """The peak of a process that tokenizes with the codec that costs nothing."""
    words = ["tokenize", str(tar), str(output), "--codec", "fake", "--engine", "inline", "--quiet"]
    return measured(*words, **environment)[1]


def write_clips(path: Path, count: int, payload: bytes, kind: str = "mp3") -> Path:
    """A shard of one clip again and again, each beside its JSON."""
    with tarfile.open(path, "w") as tar:
        for n in range(count):
            for name, content in ((f"k{n}.json", emilia_json(f"k{n}")), (f"k{n}.{kind}", payload)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path
