"""Decoding in a child process, for shards whose clips crashed or hung a worker.

When the child dies or hangs, its clip becomes a reject (`crashed_decoder`) and the next clip gets a
new child. The child reads `length, bytes` from its input and answers with a JSON head and samples.
"""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from pipeline.corpus.decode import AdmitSeconds, ClipBounds, ClipFault, DecodedClip
from pipeline.corpus.reject_reasons import Reason

_LENGTH = struct.Struct("<q")
# A clip that takes longer hangs; a child may need longer to start, because it imports libraries.
HANG_SECONDS = 120.0
_START_SECONDS = 300.0
_READ_BYTES = 1 << 20


class ChildGoneError(Exception):
    """The child ended or hung while it decoded a clip."""


class DecodeChild:
    """Starts a decoding process at the first clip, and a new one after a crash or hang."""

    def __init__(self, decoder: str, rate_hz: int, bounds: ClipBounds) -> None:
        self._job = json.dumps([decoder, rate_hz, asdict(bounds)])
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, payload: bytes, admit: AdmitSeconds) -> DecodedClip | ClipFault:
        """The samples of a clip, or its fault; a crash of the child is a fault too."""
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(_LENGTH.pack(len(payload)) + payload)
            process.stdin.flush()
            return self._answer(process, admit, time.monotonic() + HANG_SECONDS)
        except (ChildGoneError, BrokenPipeError, ConnectionResetError) as error:
            return ClipFault(
                Reason.CRASHED_DECODER, f"decoding ended its process: {self._end(error)}"
            )

    def close(self) -> None:
        """End the process, if one runs."""
        self._end(None)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker.decode_child", self._job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
            # Wait for the imports here, so that their time does not count as a hanging clip.
            self._read_length(self._process, time.monotonic() + _START_SECONDS)
        return self._process

    def _answer(
        self, process: subprocess.Popen[bytes], admit: AdmitSeconds, deadline: float
    ) -> DecodedClip | ClipFault:
        head = json.loads(self._read(process, self._read_length(process, deadline), deadline))
        if "reason" in head:
            return ClipFault(Reason(head["reason"]), head["detail"])
        admit(head["seconds"])
        content = self._read(process, head["bytes"], deadline)
        waveform = np.frombuffer(content, np.float32)
        return DecodedClip(waveform, head["num_samples"], head["sample_rate"])

    def _read_length(self, process: subprocess.Popen[bytes], deadline: float) -> int:
        return int(_LENGTH.unpack(self._read(process, _LENGTH.size, deadline))[0])

    def _read(self, process: subprocess.Popen[bytes], size: int, deadline: float) -> bytearray:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        content = bytearray()
        while len(content) < size:
            left = deadline - time.monotonic()
            if not select.select([descriptor], [], [], max(0.0, left))[0]:
                raise ChildGoneError(f"no answer for {HANG_SECONDS:g} s")
            block = os.read(descriptor, min(_READ_BYTES, size - len(content)))
            if not block:
                raise ChildGoneError("it ended")
            content += block
        return content

    def _end(self, error: Exception | None) -> str:
        process, self._process = self._process, None
        if process is None:
            return str(error)
        if error is None or "no answer" in str(error):
            process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes, see `Popen` above
        named = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{error}" if "no answer" in str(error) else named


def serve(job: str, source: BinaryIO, target: BinaryIO) -> None:
    """The loop of the child: decode clips until the input ends."""
    from pipeline.corpus.decode import load_decoder
    from pipeline.worker.torch_threads import set_torch_threads

    set_torch_threads(1)
    decoder_name, rate_hz, bounds = json.loads(job)
    decoder = load_decoder(decoder_name)
    target.write(_LENGTH.pack(0))
    target.flush()
    while head := source.read(_LENGTH.size):
        payload = source.read(_LENGTH.unpack(head)[0])
        result = decoder(payload, rate_hz, ClipBounds(**bounds))
        if isinstance(result, ClipFault):
            _send(target, {"reason": str(result.reason), "detail": result.detail}, b"")
            continue
        content = np.ascontiguousarray(result.waveform, dtype=np.float32).tobytes()
        head_fields = {
            "seconds": result.num_samples / result.sample_rate,
            "bytes": len(content),
            "num_samples": result.num_samples,
            "sample_rate": result.sample_rate,
        }
        _send(target, head_fields, content)


def _send(target: BinaryIO, head: Mapping[str, object], content: bytes) -> None:
    text = json.dumps(head).encode()
    target.write(_LENGTH.pack(len(text)) + text)
    target.write(content)
    target.flush()


if __name__ == "__main__":
    # Whatever a library prints goes to stderr, because stdout carries the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin.buffer, answers)
