"""The run an audit looks at: its record, its finished shards, and the codec that made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.decode import DECODER, RESAMPLER
from pipeline.errors import IdentityError, InputError
from pipeline.inspect.status import num_left
from pipeline.output.manifest import Manifest, list_manifests, read_named_manifests
from pipeline.output.run_record import read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise
from pipeline.worker.codec_request import CodecRequest, Precision
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec

# Beside these, codes may differ in rounding only, and the recorded flip rate is the yardstick.
_PLATFORM = ("precision", "pack_geometry", "attention", "platform", "libraries")


@dataclass(frozen=True, slots=True)
class AuditedRun:
    """One output folder as it was when the audit began; only finished shards count.

    `unfinished_shards` is None where only some shards were asked for.
    """

    output: str
    identity: Mapping[str, Any]
    manifests: tuple[Manifest, ...]
    unfinished_shards: int | None
    expected_flip_rate: tuple[float, ...] | None
    codec_source: str | None = None
    codec_config: str | None = None

    @property
    def codec(self) -> Mapping[str, Any]:
        """The identity of the codec that made the codes."""
        return dict(self.identity["codec"])

    @property
    def shape(self) -> CodesShape:
        """What its codes look like."""
        return CodesShape.of(self.codec)

    def codec_request(
        self,
        source: str | None,
        config: str | None,
        device: str,
        precision: Precision | None = None,
    ) -> CodecRequest:
        """The same codec again, from where the user has it or from where the run had it."""
        codec = self.codec
        return CodecRequest(
            source=source or self.codec_source or str(codec["name"]),
            config=config or (None if source else self.codec_config),
            precision=precision or codec["precision"],
            device=device,
            options=CodecRequest.options_of(codec),
        )

    def check_codec(self, codec: Codec) -> None:
        """Refuse to judge codes by another checkpoint than theirs."""
        theirs, ours = self.codec["checkpoint_sha256"], codec.identity.checkpoint_sha256
        if theirs != ours:
            raise IdentityError(
                f"Output `{self.output}` was made with checkpoint `{theirs[:12]}…`, this is "
                f"`{ours[:12]}…`; expected the same to re-encode with; pass it with `--codec`"
            )

    def same_platform(self, codec: Codec) -> bool:
        """Whether re-encoding here must give the very same codes."""
        ours = codec.identity.to_dict()
        # Format 1 recorded fewer of these.
        same = all(self.codec.get(name, ours[name]) == ours[name] for name in _PLATFORM)
        tools = (self.identity.get("resampler"), self.identity.get("decoder"))
        return same and tools == (RESAMPLER, DECODER)


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
        # A stem is a path without `.tar`; the manifest has the path itself.
        if name.identity8 == record.identity8 and is_wanted(f"{name.stem}.tar")
    ]
    read = read_named_manifests(storage, output, names)
    manifests = {manifest.shard: manifest for manifest in read if is_wanted(manifest.shard)}
    if not manifests:
        raise InputError(
            f"Output `{output}` has no finished shard{' that fits `--shard`' if only else ''}; "
            "expected at least one manifest of its run. Wait for one, or look at `xytok status`."
        )
    finished = {manifest.part.path for manifest in manifests.values()}
    parts = storage.list_files(join(output, "tokens"))
    waiting = sum(part.url.removeprefix(output).lstrip("/") not in finished for part in parts)
    rate = record.provenance.get("flip_rate")
    return AuditedRun(
        output=output,
        identity=record.identity,
        manifests=tuple(manifests[shard] for shard in sorted(manifests)),
        # A run that is still going, or was ended, has begun no part for most of what is left.
        unfinished_shards=None if only else max(waiting, num_left(storage, output, len(manifests))),
        expected_flip_rate=tuple(float(value) for value in rate) if rate else None,
        codec_source=record.provenance.get("codec_source"),
        codec_config=record.provenance.get("codec_config"),
    )
