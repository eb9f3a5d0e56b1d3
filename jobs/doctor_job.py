"""`xytok doctor`: says whether this machine, storage and cluster are fit, and what to do if not."""

import json as json_text
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic.dataclasses import dataclass

from jobs.logs import Log, LogOptions
from jobs.options import Json, StorageOptions, flags, open_storage
from pipeline.worker.codec_request import CodecRequest

if TYPE_CHECKING:
    from pipeline.inspect.doctor import Check


@dataclass(frozen=True, slots=True)
class OptionalCodec(CodecRequest):
    """The codec of `doctor`, which is tried where one is named."""

    source: str = ""


_MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def doctor(
    urls: Annotated[
        tuple[str, ...], Parameter(help="folders to list, for instance your bucket.")
    ] = (),
    /,
    *,
    write: Annotated[bool, Parameter(help="also write and remove a small file.")] = False,
    storage_options: StorageOptions = None,
    cluster: Annotated[
        str | None, Parameter(help="a Ray cluster to join; `auto`: that of RAY_ADDRESS.")
    ] = None,
    codec: Annotated[OptionalCodec, flags("Codec to load and try")] = OptionalCodec(),
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Print every finding; 1 if one of them is a fault."""
    from pipeline.inspect import doctor as machine

    checks = list(machine.check_machine())
    if urls:
        storage = open_storage(storage_options)
        checks += [machine.check_storage(url, storage, write) for url in urls]
    if codec.source:
        from pipeline.audit.codec_trial import try_codec

        checks += try_codec(codec)
    if cluster:
        checks.append(machine.check_cluster(cluster))
    if json:
        print(json_text.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            _print(check)
    return int(any(check.verdict == "fault" for check in checks))


def _print(check: "Check") -> None:
    print(f"{_MARKS[check.verdict]}  {check.subject:16} {check.found}")
    if check.advice:
        print(f"{'':7}{'':16} → {check.advice}")
