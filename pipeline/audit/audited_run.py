"""The run an audit looks at: its record, its finished shards, and the codec that made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.corpus.decode import RESAMPLER
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import STEM_SUFFIXES
from pipeline.errors import InputError, UsageError
from pipeline.inspect.status import num_left
from pipeline.output.dropped import Dropped, read_dropped
from pipeline.output.identity import decoder_of
from pipeline.output.manifest import Manifest, list_manifests, read_named_manifests
from pipeline.output.run_record import read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec

# Beside these, codes may differ in rounding only, and the recorded flip rate is the yardstick.
_PLATFORM = ("precision", "pack_geometry", "attention", "platform", "libraries")


@dataclass(frozen=True, slots=True)
class AuditedRun:
    """One output folder as it was when the audit began; only finished shards count.

    Attributes:
        notes: what the run recorded beside its identity.
        unfinished_shards: None where only some shards were asked for.
    """

    output: str
    identity: Mapping[str, Any]
    notes: Mapping[str, Any]
    manifests: tuple[Manifest, ...]
    unfinished_shards: int | None
    dropped: Dropped = field(default_factory=Dropped)

    @property
    def codec(self) -> Mapping[str, Any]:
        """The identity of the codec that made the codes."""
        return dict(self.identity["codec"])

    @property
    def shape(self) -> CodesShape:
        """What its codes look like."""
        return CodesShape.of(self.codec)

    @property
    def expected_flip_rate(self) -> tuple[float, ...] | None:
        """How many codes of each codebook differ from those of `exact`, as the run measured."""
        rate = self.notes.get("flip_rate")
        return tuple(float(value) for value in rate) if rate else None

    def same_platform(self, codec: Codec) -> bool:
        """Whether re-encoding here must give the very same codes."""
        ours = codec.identity.to_dict()
        # Format 1 recorded fewer of these.
        same = all(self.codec.get(name, ours[name]) == ours[name] for name in _PLATFORM)
        tools = (self.identity.get("resampler"), self.identity.get("decoder"))
        decoder = decoder_of(ReadRules.of_reading(self.identity))
        return same and tools == (RESAMPLER, decoder)


def open_run(storage: Storage, output: str, only: Sequence[str] = ()) -> AuditedRun:
    """Read the record and the manifests of an output.

    Args:
        only: parts of shard paths; with some, only shards that have one of them in their path.
    """
    output = normalise(output)
    record = read_run_record(storage, output)

    def is_wanted(shard: str) -> bool:
        return not only or any(word in shard for word in only)

    names = [
        name
        for name in list_manifests(storage, output)
        # A stem is a path without its suffix; the manifest has the path itself.
        if name.identity8 == record.identity8
        and any(is_wanted(f"{name.stem}{suffix}") for suffix in STEM_SUFFIXES)
    ]
    read = read_named_manifests(storage, output, names)
    manifests = {manifest.shard: manifest for manifest in read if is_wanted(manifest.shard)}
    if not manifests:
        raise (UsageError if only else InputError)(
            f"Output `{output}` has no finished shard{' that fits `--shard`' if only else ''}; "
            "expected at least one manifest of its run. Wait for one, or look at `xytok status`."
        )
    finished = {manifest.part.path for manifest in manifests.values()}
    parts = storage.list_files(join(output, "tokens"))
    waiting = sum(part.url.removeprefix(output).lstrip("/") not in finished for part in parts)
    return AuditedRun(
        output=output,
        identity=record.identity,
        notes=record.provenance,
        manifests=tuple(manifests[shard] for shard in sorted(manifests)),
        # A run that is still going, or was ended, has begun no part for most of what is left.
        unfinished_shards=None if only else max(waiting, num_left(storage, output, len(manifests))),
        dropped=read_dropped(storage, output),
    )
