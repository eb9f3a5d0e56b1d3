"""The decoding threads of a worker: audio bytes in, waveforms at the codec's rate out."""

import importlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from pipeline.budget import Budget
from pipeline.decode import Bounds, DecodedClip, Fault
from pipeline.decode_child import DecodeChild
from pipeline.schema import Reason, Stage
from pipeline.settings import WorkerSettings
from pipeline.shard_ledger import OpenClip, ShardLedger
from pipeline.stage_clock import StageClock, ThreadClock
from xy_codec.contract import Waveform


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """The bytes of one clip on their way to a decoding thread."""

    ledger: ShardLedger
    clip: OpenClip
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReadyClip:
    """A waveform on its way to the codec; `seconds` is what it holds of the budget."""

    ledger: ShardLedger
    clip: OpenClip
    waveform: Waveform
    seconds: float


Decoder = Callable[..., "DecodedClip | Fault"]


def load_decoder(name: str) -> Decoder:
    """The decoding function behind `module:function`."""
    module, _, function = name.partition(":")
    decoder: Decoder = getattr(importlib.import_module(module), function)
    return decoder


class DecodePool:
    """Decodes tasks from a queue in threads; what is decoded goes to `ready`."""

    def __init__(
        self,
        settings: WorkerSettings,
        rate_hz: int,
        min_samples: int,
        payload_bytes: Budget,
        ready: "queue.SimpleQueue[ReadyClip | None]",
    ) -> None:
        self._rate_hz = rate_hz
        self._min_samples = min_samples
        self._decoder_name = settings.rules.decoder
        self._bounds = Bounds(max_seconds=settings.rules.max_clip_seconds)
        self._payload_bytes = payload_bytes
        self._ready = ready
        self.seconds = Budget(settings.tuning.ahead_seconds)
        self.num_threads = settings.tuning.num_decode_threads
        self.clock = StageClock("decode", self.num_threads)
        self.tasks: queue.SimpleQueue[DecodeTask | None] = queue.SimpleQueue()
        # Torch's thread count is partly global: the encoder sets its own after these threads.
        self.torch_is_set = threading.Barrier(self.num_threads + 1)
        self._left = self.num_threads
        self._lock = threading.Lock()

    def run_thread(self) -> None:
        """The body of one decoding thread; ends on the `None` that ends the tasks."""
        # A pool of threads per decoding thread would only spin.
        set_torch_threads(1)
        self.torch_is_set.wait()
        decoder = load_decoder(self._decoder_name)
        child = DecodeChild(self._decoder_name, self._rate_hz, self._bounds)
        with child, self.clock.running() as clock:
            while (task := self._next_task(clock)) is not None:
                self._decode(task, decoder, child, clock)
        self.tasks.put(None)
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._ready.put(None)

    def _next_task(self, clock: ThreadClock) -> DecodeTask | None:
        clock.pause()
        task = self.tasks.get()
        clock.resume()
        return task

    def _decode(
        self, task: DecodeTask, decoder: Decoder, child: DecodeChild, clock: ThreadClock
    ) -> None:
        held = 0.0

        def admit(seconds: float) -> None:
            nonlocal held
            clock.pause()
            self.seconds.acquire(seconds)
            clock.resume()
            held = seconds

        payload, ledger, clip = task.payload, task.ledger, task.clip
        clip.audio_xxh64 = xxhash.xxh64_intdigest(payload)
        result: DecodedClip | Fault
        if ledger.shard.isolate_decoding:
            result = child.decode(payload, admit)
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
        self._ready.put(ReadyClip(ledger, clip, result.waveform, held))

    def _fault_of(self, result: DecodedClip | Fault) -> Fault | None:
        if isinstance(result, Fault):
            return result
        samples = len(result.waveform)
        if samples >= self._min_samples:
            return None
        detail = f"{samples} samples at {self._rate_hz} Hz; one frame needs {self._min_samples}"
        return Fault(Reason.TOO_SHORT, detail)


def torch_threads() -> int:
    """How many threads one operation of torch uses in the calling thread."""
    import torch

    return torch.get_num_threads()


def set_torch_threads(count: int) -> None:
    """Set how many threads one operation of torch uses in the calling thread."""
    import torch

    torch.set_num_threads(count)
    # The first look in a thread fixes its count; later settings elsewhere no longer reach it.
    torch.get_num_threads()
