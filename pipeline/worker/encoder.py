"""The encoding thread of a worker: clips of all shards go through the codec as one stream.

`worker.py` starts it. It takes clips from the decoding threads and gives codes to the ledgers.
"""

import queue
from collections.abc import Iterator

from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.worker.decode_threads import DecodePool, ReadyClip
from pipeline.worker.memory_limit import StoppedError
from pipeline.worker.settings import Tuning
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.torch_threads import set_torch_threads
from xy_codec.contract import Codec, Waveform


class ClipEncoder:
    """Feeds the codec and settles clips with their codes.

    A codec holds clips back until a pack is full. When no clip comes for `flush_after_seconds`, the
    stream is ended, so that the codec encodes what it holds, and a new stream is begun. This does
    not change codes: they do not depend on the pack in which a clip goes.
    """

    def __init__(
        self,
        codec: Codec,
        ready: "queue.SimpleQueue[ReadyClip | None]",
        pool: DecodePool,
        tuning: Tuning,
    ) -> None:
        import torch

        self._codec = codec
        self._ready = ready
        self._pool = pool
        self._torch_threads = torch.get_num_threads()
        self._flush_after = tuning.flush_after_seconds
        self._inside: dict[int, ReadyClip] = {}
        self._next_tag = 0
        self._is_over = self._is_stopped = False
        self.clock = StageClock("encode")

    def stop(self) -> None:
        """End after the pack in hand; clips that are ready and those the codec holds are left."""
        self._is_stopped = True
        self._ready.put(None)

    def run_thread(self) -> None:
        """The body of the encoding thread."""
        self._pool.torch_is_set.wait()
        set_torch_threads(self._torch_threads)
        with self.clock.running() as clock:
            while not self._is_over:
                for tag, encoded in self._codec.encode_stream(self._clips(clock)):
                    clip = self._inside.pop(tag)
                    if encoded.codes.shape[1] == 0:
                        detail = f"{len(clip.waveform)} samples make no frame"
                        clip.ledger.set_fault(clip.clip, Stage.ENCODE, Reason.TOO_SHORT, detail)
                    else:
                        clip.ledger.set_codes(clip.clip, encoded)

    def _clips(self, clock: ThreadClock) -> Iterator[tuple[int, Waveform]]:
        while (ready := self._next_ready(clock)) is not None:
            tag, self._next_tag = self._next_tag, self._next_tag + 1
            self._inside[tag] = ready
            self._pool.seconds.release(ready.seconds)
            yield tag, ready.waveform

    def _next_ready(self, clock: ThreadClock) -> ReadyClip | None:
        try:
            with clock.waiting:
                # While the codec holds no clips, there is nothing to flush after a while.
                ready = self._ready.get(timeout=self._flush_after if self._inside else None)
        except queue.Empty:
            return None
        if self._is_stopped:
            raise StoppedError
        self._is_over = ready is None
        return ready
