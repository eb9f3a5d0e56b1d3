"""What a run's bytes depend on, from the codec, the decoder, the schema and the rules."""

from pipeline.decode import DECODER
from pipeline.run_record import RunIdentity
from pipeline.schema import ROW_GROUP_ROWS, SCHEMA_VERSION
from pipeline.settings import DEFAULT_DECODER, ReadRules
from xy_codec.audio import RESAMPLER
from xy_codec.contract import CodecIdentity


def build_identity(codec: CodecIdentity, rules: ReadRules) -> RunIdentity:
    """The identity of a run that uses this codec under these rules."""
    return RunIdentity(
        codec=codec.to_dict(),
        resampler=RESAMPLER,
        decoder=DECODER if rules.decoder == DEFAULT_DECODER else rules.decoder,
        schema_version=SCHEMA_VERSION,
        row_group_rows=ROW_GROUP_ROWS,
        root=rules.root,
        where=rules.where,
        limit=rules.limit,
        require_json=rules.require_json,
        max_clip_seconds=rules.max_clip_seconds,
        max_member_bytes=rules.max_member_bytes,
    )
