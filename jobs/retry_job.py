"""`xytok retry`: the rejects of a finished output read again."""

from contextlib import closing
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from jobs.exit_codes import FAILED
from jobs.interrupts import WORKERS, waiting_for
from jobs.logs import RESULT, Log, LogOptions
from jobs.options import Device, Run, StorageOptions, flags, open_storage
from jobs.run_options import check_engine
from pipeline.corpus.rules import RuleChanges
from pipeline.fleet.ray.options import RayOptions
from pipeline.plural import plural

_Changes = Annotated[RuleChanges, flags("Rules that differ from the run's")]
_RAY = Annotated[RayOptions, flags("Ray", "load_minutes")]


def retry(
    run: Run,
    /,
    *,
    reason: Annotated[
        str, Parameter(help="the reasons of the rejects to read again, with commas between.")
    ],
    changes: _Changes = RuleChanges(),
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
        Annotated[int, Field(ge=0)],
        Parameter(help="threads that decode audio; 0: one fewer than there are cores."),
    ] = 0,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Read rejects again and say what became of them."""
    from pipeline.fleet.ray.engine import open_engine
    from pipeline.fleet.retry import retry_request
    from pipeline.fleet.run import check_finished, run_tokenize
    from pipeline.output.run_record import read_run_record
    from pipeline.storage.location import normalise
    from pipeline.worker.codec_request import CodecRequest
    from pipeline.worker.settings import Tuning

    check_engine(engine, ray)
    storage = open_storage(storage_options)
    record = read_run_record(storage, normalise(run))
    wanted = CodecRequest.recorded(
        record.identity["codec"],
        record.provenance,
        source=codec,
        config=codec_config,
        device=device,
    )
    wanted.check(may_be_elsewhere=engine == "ray")
    reasons = [word.strip() for word in reason.split(",") if word.strip()]
    tuning = Tuning(decode_threads=decode_threads)
    request = retry_request(run, reasons, wanted, changes, storage, tuning, quiet=log.quiet)
    if request is None:
        print("retried   no reject with these reasons is left")
        return 0
    with closing(open_engine(engine, wanted, ray)) as workers, waiting_for(WORKERS):
        summary = run_tokenize(request, workers)
    for line in summary.lines():
        RESULT.debug(line)
    if not log.quiet:
        print("\n".join(summary.lines()))
    print(f"retried   {plural(summary.codes, 'reject')} became codes, in {request.output}")
    if summary.codes or summary.failed:
        check_finished(summary, allow_damaged=True)
    return 0 if summary.codes else FAILED
