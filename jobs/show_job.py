"""`xytok show`: one row with its codes, or one reject; decoded or as it was, if asked."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, open_storage

if TYPE_CHECKING:
    from pipeline.inspect.show import FoundRow
    from pipeline.storage.client import Storage


def show(
    run: Run,
    key: Annotated[str, Parameter(help="the name of the clip in its shard.")],
    /,
    *,
    shard: Annotated[str, Parameter(help="a piece of its shard's path.")] = "",
    wav: Annotated[Path | None, Parameter(help="decode the codes into this WAV file.")] = None,
    original: Annotated[
        Path | None, Parameter(help="save the clip here, as it is stored in the shard.")
    ] = None,
    codec: Annotated[
        str | None, Parameter(help="where the codec of the run is now, for `--wav`.")
    ] = None,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Print the row as JSON, and write the files asked for."""
    from pipeline.errors import InputError, UsageError
    from pipeline.inspect.show import find_row, original_suffix, read_original

    def check_apart(path: Path) -> None:
        if wav and wav.resolve() == path.resolve():
            raise UsageError(
                f"`--wav {wav}` and `--original {original}` name the same file; expected two, as "
                "the second would overwrite the first; name another one"
            )

    if original:
        check_apart(original)
    storage = open_storage(storage_options)
    found = find_row(run, key, storage, shard)
    row = found.row | ({"dropped": found.dropped} if found.dropped else {})
    # What people read first: codes are long.
    row = dict(sorted(row.items(), key=lambda item: item[0] in ("codes", "side")))
    print(json.dumps(row, ensure_ascii=False, default=str))
    if original:
        content = read_original(run, found, storage)
        path = original if original.suffix else original.with_suffix(original_suffix(content))
        check_apart(path)
        path.write_bytes(content)
        print(f"original: `{path}`, {len(content)} bytes", file=sys.stderr)
    if wav:
        if found.is_reject:
            raise InputError(
                f"`--wav {wav}` cannot be written: `{key}` is a reject ({found.row['reason']}), "
                "which has no codes; expected a clip with codes; `--original` saves it as it was"
            )
        _decode(run, found, storage, codec, wav)
    return 0


def _decode(run: str, found: "FoundRow", storage: "Storage", codec: str | None, wav: Path) -> None:
    from jobs.codec_files import write_wav
    from pipeline.output.run_record import read_run_record
    from pipeline.storage.location import normalise
    from pipeline.worker.codec_request import CodecRequest, check_checkpoint

    record = read_run_record(storage, normalise(run))
    # What was encoded in `fast` is decoded on machines that cannot.
    request = CodecRequest.recorded(
        record.identity["codec"], record.provenance, source=codec, precision="exact"
    )
    # Only encoding is compiled.
    loaded = replace(request, compiled=False).load()
    check_checkpoint(loaded.identity, record.identity["codec"], run)
    encoded = found.encoded(loaded.shape)
    (waveform,) = loaded.decode_encoded([encoded], keys=[found.row["key"]])
    write_wav(wav, waveform, loaded.shape.output_rate_hz)
    print(f"decoded: `{wav}`", file=sys.stderr)
