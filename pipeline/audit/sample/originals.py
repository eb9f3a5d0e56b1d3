"""Originals of sampled clips: one range read each by offset in the tar, never a whole tar."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import xxhash

from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.sample.sampling import SampledClip
from pipeline.corpus.decode import ClipBounds, ClipFault, decode_clip
from pipeline.errors import PipelineError, UsageError
from pipeline.storage.client import Storage
from xy_codec.contract import Waveform


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Where sources are now: pairs of old and new leading paths, the first that fits counts."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, options: Sequence[str]) -> "SourceMap":
        """Out of `--source-map OLD=NEW` options."""
        pairs = []
        for option in options:
            old, equals, new = option.partition("=")
            if not (old and equals and new):
                raise UsageError(
                    f"`--source-map {option}` is no pair; expected `OLD=NEW`, two leading paths "
                    "of the shards. For example `--source-map s3://old/emilia=/mnt/emilia`."
                )
            pairs.append((old, new))
        return cls(tuple(pairs))

    def locate(self, url: str) -> str:
        """Where a shard is now."""
        for old, new in self.pairs:
            if url.startswith(old):
                return new + url[len(old) :]
        return url


@dataclass(frozen=True, slots=True)
class Original:
    """What is behind a sampled clip; either a waveform at the codec's rate or a reason."""

    clip: SampledClip
    payload: bytes
    waveform: Waveform | None
    same_audio: bool | None
    reason: Reason | None = None


def read_originals(
    clips: Iterable[SampledClip],
    storage: Storage,
    rate_hz: int,
    size_bytes: int | None = None,
    threads: int = 8,
) -> Iterator[Original]:
    """The originals in the order of their clips, read a few at a time."""
    with ThreadPoolExecutor(threads, thread_name_prefix="originals") as pool:
        yield from pool.map(lambda clip: read_original(clip, storage, rate_hz, size_bytes), clips)


def read_original(
    clip: SampledClip, storage: Storage, rate_hz: int, size_bytes: int | None = None
) -> Original:
    """The original of one clip, and whether its bytes are those that were tokenized.

    Args:
        size_bytes: that of the tar as it is now; what lies behind it is not asked for.
    """
    if clip.tar_offset is None:
        return Original(clip, b"", None, None, Reason.NO_OFFSET)
    end = clip.tar_offset + clip.tar_size
    if size_bytes is not None and end > size_bytes:
        return Original(clip, b"", None, None, Reason.UNREADABLE)
    try:
        payload = storage.read_range(clip.url, clip.tar_offset, end)
    except PipelineError:
        return Original(clip, b"", None, None, Reason.UNREADABLE)
    same = xxhash.xxh64_intdigest(payload) == clip.audio_xxh64
    decoded = decode_clip(payload, rate_hz, ClipBounds())
    if isinstance(decoded, ClipFault):
        return Original(clip, payload, None, same, Reason.UNDECODABLE)
    return Original(clip, payload, decoded.waveform, same)
