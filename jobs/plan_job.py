"""`xytok plan`: what `xytok tokenize` with the same options would do and take."""

import json as json_text
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from jobs.logs import Log, LogOptions
from jobs.options import Json, open_storage
from jobs.run_options import Options, check_engine

_Positive = Annotated[float, Field(gt=0)]


def plan(
    options: Options,
    *,
    speed: Annotated[
        _Positive | None,
        Parameter(
            help="reckon with workers of so many × real time; default: as this run has been so "
            "far, else as `xytok bench` measured this codec here."
        ),
    ] = None,
    price: Annotated[
        _Positive | None, Parameter(help="what a worker costs in an hour, in any currency.")
    ] = None,
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Print the plan; nothing is changed."""
    from pipeline.bench.kept_speeds import find_speed
    from pipeline.inspect.plan import Speed, make_plan

    check_engine(options.engine, options.ray)
    inputs, output = options.paths()
    measured = find_speed(options.codec)
    found = make_plan(
        inputs,
        output,
        open_storage(options.storage_options),
        rules=options.rules,
        codec=options.codec,
        max_shards=options.max_shards,
        workers=options.ray.workers or 1,
        speed=None if speed is None else Speed(speed, "as `--speed` says"),
        bench_speed=measured and Speed(measured[0], f"as `xytok bench` measured ({measured[1]})"),
        price=price,
    )
    print(json_text.dumps(asdict(found), indent=1) if json else "\n".join(found.lines()))
    return 0
