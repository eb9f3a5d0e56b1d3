"""`xytok evaluate`: codecs side by side on the same speech, with an ASR probe on their codes."""

import json as json_text
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.logs import Log, LogOptions
from jobs.options import (
    Device,
    Json,
    Processes,
    SimModel,
    StorageOptions,
    flags,
    open_storage,
)
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.errors import UsageError
from pipeline.evaluate.probe.plan import HIGHEST_RATE, PRESETS, Preset, ProbePlan
from pipeline.worker.codec_request import CodecRequest


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """The ASR probe.

    Attributes:
        probe_data: shards with texts that the probe learns from; without them there is none.
        probe_preset: `paper` (400,000 steps at 1e-4, 1,024 units) or `small` (1,000 at 1e-3, 128).
        probe_steps: other steps than the preset's.
        probe_learning_rate: another highest learning rate.
    """

    probe_data: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    probe_preset: Preset = "paper"
    probe_steps: Annotated[int, Field(ge=1)] | None = None
    probe_learning_rate: Annotated[float, Field(gt=0, le=HIGHEST_RATE)] | None = None

    def plan(self) -> ProbePlan:
        """The preset with what was set."""
        if not self.probe_data and self != ProbeOptions():
            raise UsageError(
                "`--probe-preset`, `--probe-steps` and `--probe-learning-rate` are of a probe, "
                "which learns from `--probe-data`; expected it beside them. Name transcribed "
                "shards, or leave these options out"
            )
        preset = PRESETS[self.probe_preset]
        return replace(
            preset,
            steps=self.probe_steps or preset.steps,
            learning_rate=self.probe_learning_rate or preset.learning_rate,
        )


@dataclass(frozen=True, slots=True)
class EvaluateMeasuring:
    """How clips are measured.

    Attributes:
        asr_model: a Whisper, folder or name, that reads the reconstructions of clips with a text.
        limit: only the first N clips of every shard of `--data`.
        speed_seconds: about how long each direction of a codec is timed; 0 leaves speeds out.
    """

    sim_model: SimModel = "campplus"
    asr_model: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    speed_seconds: Annotated[float, Field(ge=0)] = 5.0
    device: Device = "auto"
    processes: Processes = None
    storage_options: StorageOptions = None


def evaluate(
    *,
    codec: Annotated[
        tuple[str, ...],
        Parameter(help="SOURCE or SOURCE,NAME=VALUE with the codec's options (repeatable)."),
    ] = (),
    run: Annotated[
        tuple[str, ...],
        Parameter(help="an output of `xytok tokenize`, whose codes are probed (repeatable)."),
    ] = (),
    data: Annotated[
        tuple[str, ...],
        Parameter(consume_multiple=True, help="the shards to measure on."),
    ],
    output: Annotated[
        str, Parameter(name=["--output", "-o", "--out"], help="the folder for page and JSON.")
    ] = "evaluation",
    sample: Annotated[SamplePlan, flags("Sample")] = SamplePlan(),
    measuring: Annotated[EvaluateMeasuring, flags("Measuring")] = EvaluateMeasuring(),
    probe: Annotated[ProbeOptions, flags("Probe")] = ProbeOptions(),
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Measure all, write the page and the JSON, and print the table."""
    from pipeline.evaluate.evaluation import EvaluateRequest
    from pipeline.evaluate.evaluation import evaluate as measure
    from pipeline.evaluate.page import render_evaluation
    from pipeline.evaluate.record import as_json
    from pipeline.evaluate.table import table_lines
    from pipeline.storage.location import join

    storage = open_storage(measuring.storage_options)
    request = EvaluateRequest(
        codecs={name: codec_of(name, measuring.device) for name in codec},
        runs=run,
        data=data,
        output=output,
        probe_data=probe.probe_data,
        probe=probe.plan(),
        sample=sample,
        sim_model=measuring.sim_model,
        asr_model=measuring.asr_model,
        limit=measuring.limit,
        speed_seconds=measuring.speed_seconds,
        processes=measuring.processes,
        device=measuring.device,
        storage=storage,
        quiet=log.quiet,
    )
    for each in request.codecs.values():
        each.check()
    found = measure(request)
    record = json_text.dumps(as_json(found), indent=1, ensure_ascii=False)
    page = join(output, "evaluation.html")
    storage.write_finished(join(output, "evaluation.json"), record.encode())
    storage.write_finished(page, render_evaluation(found).encode())
    print(record if json else "\n".join([*table_lines(found), "", page]))
    return 0


def codec_of(name: str, device: str) -> CodecRequest:
    """The codec behind `SOURCE,NAME=VALUE,…`."""
    source, *options = name.split(",")
    return CodecRequest(source, device=device, options=tuple(options))
