"""The encoding thread of a worker: one endless stream of clips, over all shards, into the codec."""

import queue
import time
from collections.abc import Iterator

from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.worker.decode_threads import DecodePool, ReadyClip
from pipeline.worker.settings import Tuning
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.torch_threads import set_torch_threads, torch_threads
from xy_codec.contract import Codec, Waveform

_Tag = int


class ClipEncoder:
    """Feeds the codec and settles clips with their codes.

    A codec keeps clips back until a pack is full. When nothing comes for a while, the stream is
    ended so that it lets them go, and a new one is begun: codes do not depend on their company.
    """

    def __init__(
        self,
        codec: Codec,
        ready: "queue.SimpleQueue[ReadyClip | None]",
        pool: DecodePool,
        tuning: Tuning,
    ) -> None:
        self._codec = codec
        self._ready = ready
        self._pool = pool
        self._torch_threads = torch_threads()
        self._flush_after = tuning.flush_after_seconds
        self._inside: dict[_Tag, ReadyClip] = {}
        self._next_tag = 0
        self._is_over = False
        self.clock = StageClock("encode")
        self.waited_seconds = 0.0

    def run_thread(self) -> None:
        """The body of the encoding thread."""
        self._pool.torch_is_set.wait()
        set_torch_threads(self._torch_threads)
        with self.clock.running() as clock:
            while not self._is_over:
                for tag, codes in self._codec.encode_stream(self._clips(clock)):
                    clip = self._inside.pop(tag)
                    if codes.shape[1] == 0:
                        detail = f"{len(clip.waveform)} samples make no frame"
                        clip.ledger.set_fault(clip.clip, Stage.ENCODE, Reason.TOO_SHORT, detail)
                    else:
                        clip.ledger.set_codes(clip.clip, codes)

    def _clips(self, clock: ThreadClock) -> Iterator[tuple[_Tag, Waveform]]:
        while True:
            ready = self._next_ready(clock)
            if ready is None:
                return
            tag, self._next_tag = self._next_tag, self._next_tag + 1
            self._inside[tag] = ready
            self._pool.seconds.release(ready.seconds)
            yield tag, ready.waveform

    def _next_ready(self, clock: ThreadClock) -> ReadyClip | None:
        clock.pause()
        began = time.perf_counter()
        try:
            # Without clips inside there is nothing to flush, and waiting costs nothing.
            ready = self._ready.get(timeout=self._flush_after if self._inside else None)
        except queue.Empty:
            return None
        finally:
            self.waited_seconds += time.perf_counter() - began
            clock.resume()
        self._is_over = ready is None
        return ready
