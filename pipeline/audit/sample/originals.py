"""Originals of sampled clips, read one by one by their places, never a whole shard."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import xxhash

from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.sample.sampling import SampledClip
from pipeline.corpus.clip_source import ReadAudio, audio_reader
from pipeline.corpus.decode import ClipBounds, ClipFault, load_decoder
from pipeline.corpus.rules import DEFAULT_DECODER, ReadRules
from pipeline.corpus.shard import is_tar, list_path, stem_of
from pipeline.errors import PipelineError, UsageError
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.storage.location import join
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


@dataclass(frozen=True, slots=True)
class OriginalReader:
    """Reads the originals of one shard by the rules of its run.

    Attributes:
        read: gives the bytes of audio by place and size.
        size_bytes: that of a tar as it is now; what lies behind it is not asked for.
    """

    read: ReadAudio
    rate_hz: int
    size_bytes: int | None = None
    decoder: str = DEFAULT_DECODER

    @classmethod
    def of_shard(
        cls,
        storage: Storage,
        output: str,
        manifest: Manifest,
        url: str,
        rules: ReadRules,
        rate_hz: int,
        size_bytes: int | None = None,
    ) -> "OriginalReader":
        """For the shard of a manifest, which is at a URL now."""
        listed = join(output, list_path(stem_of(manifest.shard)))
        read = audio_reader(manifest.shard, url, storage, rules, lambda: storage.read_bytes(listed))
        size = size_bytes if is_tar(manifest.shard) else None
        return cls(read, rate_hz, size, rules.decoding)

    def all(self, clips: Iterable[SampledClip], threads: int = 8) -> Iterator[Original]:
        """The originals in the order of their clips, read a few at a time."""
        with ThreadPoolExecutor(threads, thread_name_prefix="originals") as pool:
            yield from pool.map(self, clips)

    def __call__(self, clip: SampledClip) -> Original:
        """The original of one clip, and whether its bytes are those that were tokenized."""
        if clip.tar_offset is None:
            return Original(clip, b"", None, None, Reason.NO_OFFSET)
        if self.size_bytes is not None and clip.tar_offset + clip.tar_size > self.size_bytes:
            return Original(clip, b"", None, None, Reason.UNREADABLE)
        try:
            payload = self.read(clip.tar_offset, clip.tar_size)
        except PipelineError:
            return Original(clip, b"", None, None, Reason.UNREADABLE)
        same = xxhash.xxh64_intdigest(payload) == clip.audio_xxh64
        decoded = load_decoder(self.decoder)(payload, self.rate_hz, ClipBounds())
        if isinstance(decoded, ClipFault):
            return Original(clip, payload, None, same, Reason.UNDECODABLE)
        return Original(clip, payload, decoded.waveform, same)
