"""The start-up time of a worker in a new process: imports, weights, first pack."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.worker.codec_request import CodecRequest

_SCRIPT = """
import json, sys, time
import numpy
import torch
import pipeline.worker.worker
from pipeline.worker.codec_request import CodecRequest
times = [time.time()]
codec = CodecRequest(**json.loads(sys.argv[1])).load()
times.append(time.time())
codec.encode([numpy.zeros(10 * codec.shape.input_rate_hz, numpy.float32)])
times.append(time.time())
print(json.dumps(times))
"""


@dataclass(frozen=True, slots=True)
class StartUpFigures:
    """Seconds from the start of a process to its first codes."""

    imports_seconds: float
    load_seconds: float
    first_pack_seconds: float

    @property
    def total_seconds(self) -> float:
        """The sum."""
        return self.imports_seconds + self.load_seconds + self.first_pack_seconds


def measure_start_up(request: CodecRequest) -> StartUpFigures:
    """Start a process as a worker starts, and time each step."""
    arguments = {name: getattr(request, name) for name in CodecRequest.__slots__}
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PipelineError(
            f"A worker process with codec `{request.source}` did not start ({last}); expected "
            "codes of ten seconds of silence; run `xytok doctor --codec CODEC`"
        )
    imported, loaded, encoded = json.loads(done.stdout.splitlines()[-1])
    return StartUpFigures(imported - began, loaded - imported, encoded - loaded)
