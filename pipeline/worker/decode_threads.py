"""The decoding threads of a worker: audio bytes in, waveforms at the codec's rate out.

`worker.py` starts them. They take tasks from the reading thread and give clips to the encoding one.
The decoding itself is in `corpus/decode.py`; for suspicious shards it runs in `decode_child.py`.
"""

import os
import queue
import threading
from dataclasses import dataclass

import xxhash

from pipeline.corpus.decode import ClipBounds, ClipFault, DecodedClip, Decoder, load_decoder
from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.worker.decode_child import DecodeChild
from pipeline.worker.ledger import OpenClip, ShardLedger
from pipeline.worker.memory_limit import MemoryLimit
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.torch_threads import set_torch_threads
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Waveform


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """The bytes of one clip on their way to a decoding thread."""

    ledger: ShardLedger
    clip: OpenClip
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReadyClip:
    """A waveform on its way to the codec; `seconds` is what it holds of the memory limit."""

    ledger: ShardLedger
    clip: OpenClip
    waveform: Waveform
    seconds: float


def default_decode_threads(cores: int | None = None) -> int:
    """One thread fewer than there are cores (of this process, without a number), but one at least.

    The core that is left belongs to the threads that read, encode and write.
    """
    return max(1, (len(os.sched_getaffinity(0)) if cores is None else cores) - 1)


class DecodePool:
    """Decodes the tasks of a queue in several threads and puts the waveforms into `ready`."""

    def __init__(
        self,
        settings: WorkerSettings,
        shape: CodesShape,
        payload_bytes: MemoryLimit,
        ready: "queue.SimpleQueue[ReadyClip | None]",
    ) -> None:
        self._shape = shape
        self._rate_hz = shape.input_rate_hz
        self._decoder_name = settings.rules.decoding
        self._bounds = ClipBounds.of(settings.rules.max_clip_seconds, shape)
        self._payload_bytes = payload_bytes
        self._ready = ready
        self.seconds = MemoryLimit(settings.tuning.ahead_seconds)
        self.num_threads = settings.tuning.decode_threads or default_decode_threads()
        self.clock = StageClock("decode", self.num_threads)
        self.tasks: queue.SimpleQueue[DecodeTask | None] = queue.SimpleQueue()
        # Torch's thread count is partly global: the encoder sets its own after these threads.
        self.torch_is_set = threading.Barrier(self.num_threads + 1)
        self._child = DecodeChild(self._decoder_name, self._rate_hz, self._bounds)
        self._left = self.num_threads
        self._lock = threading.Lock()

    def run_thread(self) -> None:
        """The body of one decoding thread; it ends when it takes `None` from the tasks."""
        # Torch's own threads, a pool for each decoding thread, would only compete for the cores.
        set_torch_threads(1)
        self.torch_is_set.wait()
        try:
            decoder = load_decoder(self._decoder_name)
            with self.clock.running() as clock:
                while (task := self._next_task(clock)) is not None:
                    self._decode(task, decoder, clock)
            self.tasks.put(None)
        finally:
            with self._lock:
                self._left -= 1
                is_last = self._left == 0
            if is_last:
                self._child.close()
                self._ready.put(None)

    def _next_task(self, clock: ThreadClock) -> DecodeTask | None:
        with clock.waiting:
            return self.tasks.get()

    def _decode(self, task: DecodeTask, decoder: Decoder, clock: ThreadClock) -> None:
        held = 0.0

        def admit(seconds: float) -> None:
            nonlocal held
            if held:  # by the first try of a clip that is tried again
                return
            with clock.waiting:
                self.seconds.acquire(seconds)
            held = seconds

        payload, ledger, clip = task.payload, task.ledger, task.clip
        clip.audio_xxh64 = xxhash.xxh64_intdigest(payload)
        result: DecodedClip | ClipFault
        if ledger.shard.isolate_decoding:
            result = self._child.decode(payload, admit, clock.step)
        else:
            result = decoder(payload, self._rate_hz, self._bounds, admit)
        self._payload_bytes.release(len(payload))
        fault = self._fault_of(result)
        if fault is not None:
            if held:
                self.seconds.release(held)
            ledger.set_fault(clip, Stage.DECODE, fault.reason, fault.detail)
            return
        assert isinstance(result, DecodedClip)
        clip.num_samples, clip.sample_rate = result.num_samples, result.sample_rate
        clip.declared_samples = result.declared_samples
        self._ready.put(ReadyClip(ledger, clip, result.waveform, held))

    def _fault_of(self, result: DecodedClip | ClipFault) -> ClipFault | None:
        if isinstance(result, ClipFault):
            return result
        samples = len(result.waveform)
        if self._shape.num_frames(samples):
            return None
        needed = self._shape.min_samples
        detail = f"{samples} samples at {self._rate_hz} Hz; one frame needs {needed}"
        return ClipFault(Reason.TOO_SHORT, detail)
