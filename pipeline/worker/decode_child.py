"""Decoding in a child process, for shards whose clips crashed or hung a worker.

A clip that ends or hangs two children in a row becomes a reject (`crashed_decoder`), but only when
a fresh child works after it. A child that does not work is a fault of the node (`NodeError`). The
child reads `length, bytes` from its input and answers with a JSON head and samples.
"""

import io
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from pipeline.corpus.decode import AdmitSeconds, ClipBounds, ClipFault, DecodedClip
from pipeline.corpus.reject_reasons import Reason
from pipeline.errors import NodeError
from pipeline.storage.retries import describe

_LENGTH = struct.Struct("<q")
# A clip that takes longer hangs; a child may need longer to start, because it imports libraries.
HANG_SECONDS = 120.0
_START_SECONDS = 300.0
_READ_BYTES = 1 << 20
_TRIES = 2
# How a child that ended shows itself, beside `TimeoutError` for one that hangs.
_ENDED = (EOFError, BrokenPipeError, ConnectionResetError)


class DecodeChild:
    """A decoding process that the threads of a worker share; it starts at the first clip.

    One for all threads, because each would import the same libraries, and memory that ran out may
    be why a worker died.
    """

    def __init__(self, decoder: str, rate_hz: int, bounds: ClipBounds) -> None:
        self._job = json.dumps([decoder, rate_hz, asdict(bounds)])
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def decode(
        self, payload: bytes, admit: AdmitSeconds, note_try: Callable[[], None]
    ) -> DecodedClip | ClipFault:
        """The samples of a clip, or its fault; raise `NodeError` when no child works here."""
        with self._lock:
            for _ in range(_TRIES):
                note_try()
                process = self._started()
                try:
                    return self._ask(process, payload, admit)
                except (*_ENDED, TimeoutError) as error:
                    how = self._end(error)
                except BaseException:
                    # Half an answer may wait in the pipe.
                    self._end(None)
                    raise
            # Without a child that works now, the clip may not be what ended the others.
            self._started()
        return ClipFault(Reason.CRASHED_DECODER, f"decoding ended its process twice: {how}")

    def close(self) -> None:
        """End the process, if one runs."""
        with self._lock:
            self._end(None)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.worker.decode_child", self._job],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                )
                # Wait for the imports here, so that their time does not count as a hanging clip.
                self._read_length(self._process, _START_SECONDS)
            except (EOFError, OSError, MemoryError) as error:
                how = self._end(error) or describe(error)
                raise NodeError(
                    f"The process that decodes suspicious shards does not start ({how}); expected "
                    f"it to load its libraries and to decode a sound within {_START_SECONDS:g} s; "
                    "free memory or repair the installation on this node"
                ) from error
        return self._process

    def _ask(
        self, process: subprocess.Popen[bytes], payload: bytes, admit: AdmitSeconds
    ) -> DecodedClip | ClipFault:
        assert process.stdin is not None
        process.stdin.write(_LENGTH.pack(len(payload)) + payload)
        process.stdin.flush()
        size = self._read_length(process, HANG_SECONDS)
        head = json.loads(self._read(process, size, HANG_SECONDS))
        if "node_fault" in head:
            raise NodeError(head["node_fault"])
        if "reason" in head:
            return ClipFault(Reason(head["reason"]), head["detail"])
        admit(head["seconds"])
        # `admit` may have waited for the encoder, which is not this child's time.
        content = self._read(process, head["bytes"], HANG_SECONDS)
        waveform = np.frombuffer(content, np.float32)
        figures = (head["num_samples"], head["sample_rate"], head["declared_samples"])
        return DecodedClip(waveform, *figures)

    def _read_length(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        return int(_LENGTH.unpack(self._read(process, _LENGTH.size, seconds))[0])

    def _read(self, process: subprocess.Popen[bytes], size: int, seconds: float) -> bytearray:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        deadline = time.monotonic() + seconds
        content = bytearray()
        while len(content) < size:
            left = deadline - time.monotonic()
            if not select.select([descriptor], [], [], max(0.0, left))[0]:
                raise TimeoutError(f"no answer for {seconds:g} s")
            block = os.read(descriptor, min(_READ_BYTES, size - len(content)))
            if not block:
                raise EOFError
            content += block
        return content

    def _end(self, error: BaseException | None) -> str:
        """End the process if it did not end by itself, and say how it went."""
        process, self._process = self._process, None
        if process is None:
            return ""
        if not isinstance(error, _ENDED):
            process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes, see `Popen` above
        if isinstance(error, TimeoutError):
            return str(error)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve(job: str, source: BinaryIO, target: BinaryIO) -> None:
    """The loop of the child: decode clips until the input ends."""
    from pipeline.corpus.decode import load_decoder
    from pipeline.worker.torch_threads import set_torch_threads

    set_torch_threads(1)
    decoder_name, rate_hz, bounds = json.loads(job)
    decoder = load_decoder(decoder_name)
    # Some libraries are loaded, or turn out to be broken, at the first clip.
    decoder(_short_sound(), rate_hz, ClipBounds(**bounds))
    target.write(_LENGTH.pack(0))
    target.flush()
    while head := source.read(_LENGTH.size):
        payload = source.read(_LENGTH.unpack(head)[0])
        try:
            result = decoder(payload, rate_hz, ClipBounds(**bounds))
        except NodeError as error:
            _send(target, {"node_fault": str(error)}, b"")
            continue
        if isinstance(result, ClipFault):
            _send(target, {"reason": str(result.reason), "detail": result.detail}, b"")
            continue
        content = np.ascontiguousarray(result.waveform, dtype=np.float32).tobytes()
        head_fields = {
            "seconds": result.num_samples / result.sample_rate,
            "bytes": len(content),
            "num_samples": result.num_samples,
            "sample_rate": result.sample_rate,
            "declared_samples": result.declared_samples,
        }
        _send(target, head_fields, content)


def _short_sound() -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(1600))
        return file.getvalue()


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
