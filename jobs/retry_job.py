"""`xytok retry`: the rejects of a finished output read again."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field

from jobs.exit_codes import FAILED
from jobs.logs import RESULT, Log, LogOptions
from jobs.options import Device, Run, StorageOptions, flags, open_storage
from pipeline.fleet.ray.options import RayOptions

_RULES = Parameter(group="Rules that differ from the run's")
_RAY = Annotated[RayOptions, flags("Ray", "load_minutes")]


def retry(
    run: Run,
    /,
    *,
    reason: Annotated[
        str, Parameter(help="the reasons of the rejects to read again, with commas between.")
    ],
    pyav: Annotated[bool | None, _RULES, Parameter(help="decode also M4A, AAC, WebM.")] = None,
    max_clip_seconds: Annotated[
        Annotated[float, Field(gt=0)] | None, _RULES, Parameter(help="reject longer clips.")
    ] = None,
    max_member_bytes: Annotated[
        str | None, _RULES, Parameter(help="reject larger audio files, e.g. 2GiB.")
    ] = None,
    require_json: Annotated[
        bool | None, _RULES, Parameter(help="reject clips that have no JSON.")
    ] = None,
    reject_short: Annotated[
        bool | None, _RULES, Parameter(help="reject audio that ends early.")
    ] = None,
    codec: Annotated[
        str | None, Parameter(help="where the codec of the run is now, if not where it was.")
    ] = None,
    codec_config: Annotated[str | None, Parameter(help="its configuration.")] = None,
    device: Device = "auto",
    engine: Annotated[
        Literal["ray", "inline"],
        Parameter(help="`ray` uses all workers of a cluster or of this machine, `inline` one."),
    ] = "ray",
    ray: _RAY = RayOptions(),
    decode_threads: Annotated[
        Annotated[int, Field(ge=0)], Parameter(help="threads that decode audio.")
    ] = 0,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Read rejects again and say what became of them."""
    from pipeline.fleet.engine import Engine, InlineEngine
    from pipeline.fleet.ray.engine import RayEngine
    from pipeline.fleet.retry import retry_request
    from pipeline.fleet.run import check_finished, run_tokenize
    from pipeline.output.run_record import read_run_record
    from pipeline.storage.location import normalise
    from pipeline.worker.codec_request import CodecRequest
    from pipeline.worker.settings import Tuning

    storage = open_storage(storage_options)
    record = read_run_record(storage, normalise(run))
    wanted = CodecRequest.recorded(
        record.identity["codec"],
        record.provenance,
        source=codec,
        config=codec_config,
        device=device,
    )
    given: dict[str, Any] = {
        "pyav": pyav,
        "max_clip_seconds": max_clip_seconds,
        "max_member_bytes": max_member_bytes,
        "require_json": require_json,
        "reject_short": reject_short,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    reasons = [word.strip() for word in reason.split(",") if word.strip()]
    tuning = Tuning(decode_threads=decode_threads)
    request = retry_request(run, reasons, wanted, changes, storage, tuning, quiet=log.quiet)
    if request is None:
        print("retried   no reject with these reasons is left")
        return 0
    made: Engine = RayEngine(wanted, ray) if engine == "ray" else InlineEngine(wanted)
    try:
        summary = run_tokenize(request, made)
    finally:
        made.close()
    for line in summary.lines():
        RESULT.debug(line)
    if not log.quiet:
        print("\n".join(summary.lines()))
    print(f"retried   {summary.codes} rejects became codes, in {request.output}")
    if summary.codes or summary.failed:
        check_finished(summary, allow_damaged=True)
    return 0 if summary.codes else FAILED
