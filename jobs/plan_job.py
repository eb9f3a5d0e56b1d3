"""`xytok plan`: what `xytok tokenize` with the same options would do and take."""

import json as json_text
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from jobs.logs import Log, LogOptions
from jobs.options import Json, open_storage
from jobs.run_options import Options

Speed = Annotated[
    float,
    Field(gt=0),
    Parameter(help="assume workers of so many × real time; `xytok bench` measures it."),
]


def plan(
    options: Options,
    *,
    speed: Speed = 10_000.0,
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Print the plan; nothing is changed."""
    from pipeline.inspect.plan import make_plan

    options.check_engine()
    inputs, output = options.paths()
    found = make_plan(
        inputs,
        output,
        open_storage(options.storage_options),
        rules=options.rules,
        codec=options.codec,
        max_shards=options.max_shards,
        speed=speed,
        gpus=options.ray.workers or 1,
    )
    print(json_text.dumps(asdict(found), indent=1) if json else "\n".join(found.lines()))
    return 0
