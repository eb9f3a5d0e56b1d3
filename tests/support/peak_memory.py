"""The peak memory of a process that tokenizes one shard, and shards made for it."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.shard_maker import emilia_json

# Tells its own peak in kB: what the system tells of a child may be the memory of its parent.
_CODE = """
import re, sys
from jobs.cli import run
code = run(sys.argv[1:])
print(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""


def peak_mib(tar: Path | str, output: Path | str, **environment: str) -> float:
    """The peak of a process with the codec that costs nothing."""
    words = ["tokenize", str(tar), str(output), "--codec", "fake", "--engine", "inline", "--quiet"]
    command = [sys.executable, "-c", _CODE, *words]
    env = os.environ | environment
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def write_clips(path: Path, count: int, payload: bytes, kind: str = "mp3") -> Path:
    """A shard of one clip again and again, each beside its JSON."""
    with tarfile.open(path, "w") as tar:
        for n in range(count):
            for name, content in ((f"k{n}.json", emilia_json(f"k{n}")), (f"k{n}.{kind}", payload)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path
