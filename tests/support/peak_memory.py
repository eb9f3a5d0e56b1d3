"""The peak memory of a process that tokenizes one shard, and shards made for it."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.shard_maker import emilia_json

_CODE = "import sys; from jobs.cli import run; sys.exit(run(sys.argv[1:]))"


def peak_mib(tar: Path | str, output: Path | str, **environment: str) -> float:
    """The peak of a process with the codec that costs nothing."""
    words = ["tokenize", str(tar), str(output), "--codec", "fake", "--engine", "inline", "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", _CODE, *words], env=os.environ | environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def write_clips(path: Path, count: int, payload: bytes, kind: str = "mp3") -> Path:
    """A shard of one clip again and again, each beside its JSON."""
    with tarfile.open(path, "w") as tar:
        for n in range(count):
            for name, content in ((f"k{n}.json", emilia_json(f"k{n}")), (f"k{n}.{kind}", payload)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path
