"""`xytok compare`: two runs or two checkpoints on the same clips, with paired differences."""

import json as json_text
import tempfile
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.audit_job import measure_with
from jobs.logs import Log, LogOptions
from jobs.measuring_options import Measuring, MeasuringOptions
from jobs.options import Engine, Json, Output, flags, open_storage
from pipeline.audit.sample.sampling import SamplePlan

if TYPE_CHECKING:
    from pipeline.audit.compare import Comparison
    from pipeline.worker.codec_request import CodecRequest


def compare(
    a: Annotated[str, Parameter(help="an output of `xytok tokenize`, or a checkpoint.")],
    b: Annotated[str, Parameter(help="another of the same kind.")],
    /,
    *,
    inputs: Annotated[
        tuple[str, ...],
        Parameter(consume_multiple=True, help="A and B are checkpoints: try them on these shards."),
    ] = (),
    sample: Annotated[SamplePlan, flags("Sample", "fraction", "stratify")] = SamplePlan(),
    measuring: Measuring = MeasuringOptions(),
    codec_b: Annotated[
        str | None, Parameter(group="Measuring", help="that of B; default: as `--codec`.")
    ] = None,
    codec_option: Annotated[
        tuple[str, ...],
        Parameter(help="with `--inputs`: an option of both checkpoints, NAME=VALUE (repeatable)."),
    ] = (),
    codec_option_b: Annotated[
        tuple[str, ...],
        Parameter(help="those of B; default: as `--codec-option`. A and B may be one checkpoint."),
    ] = (),
    output: Annotated[str, Output, Parameter(help="the page to write.")] = "compare.html",
    engine: Engine = "inline",
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Measure both sides, write the page, and say which is better."""
    from pipeline.audit.compare import compare_runs, trial_runs
    from pipeline.audit.report.compare_page import render_comparison
    from pipeline.errors import UsageError
    from pipeline.worker.codec_request import CodecRequest

    labels = outputs = (a, b)
    sources = (measuring.codec, codec_b or measuring.codec)
    with tempfile.TemporaryDirectory(prefix="xytok-compare-") as folder:
        if inputs:
            if measuring.codec or codec_b:
                raise UsageError(
                    "`--codec` and `--inputs` do not go together: with `--inputs`, A and B are the "
                    "checkpoints. Leave `--codec` and `--codec-b` out"
                )
            config, device = measuring.codec_config, measuring.device
            precision = measuring.precision or "exact"
            both = (codec_option, codec_option_b or codec_option)
            codecs = [
                CodecRequest(source, config, precision, device, options)
                for source, options in zip((a, b), both, strict=True)
            ]
            for each in codecs:
                each.check()
            if codec_option_b:
                labels = (_with_options(codecs[0]), _with_options(codecs[1]))
            tried_a, tried_b = trial_runs(codecs, inputs, folder, sample.per_shard)
            outputs = (tried_a, tried_b)
            sources = (a, b)
        elif codec_option or codec_option_b:
            raise UsageError(
                "`--codec-option` goes with `--inputs` alone: a run's codes were made with the "
                "options in its `run.json`; expected checkpoints as A and B; leave it out"
            )
        request = measuring.request(outputs[0], sample, quiet=log.quiet)
        measured = compare_runs(request, outputs, labels, sources, measure_with(engine))
        page = render_comparison(measured.comparison, measured.sides)
    open_storage(measuring.storage_options).write_finished(output, page.encode())
    found = measured.comparison
    print(json_text.dumps(_differences(found), indent=1) if json else _line(found, output))
    return 0


def _with_options(codec: "CodecRequest") -> str:
    return " ".join((codec.source, *codec.options))


def _differences(comparison: "Comparison") -> dict[str, object]:
    return {
        "a": comparison.label_a,
        "b": comparison.label_b,
        "clips": len(comparison.pairs),
        "sim_model": comparison.sim_model,
        "metrics": {
            name: {
                "a": result.mean_a.estimate,
                "b": result.mean_b.estimate,
                "difference": result.difference.estimate,
                # JSON has no infinity: bounds that are not known are null.
                "low": result.difference.low if result.difference.is_known else None,
                "high": result.difference.high if result.difference.is_known else None,
                "one_sided": result.one_sided,
                "gain": result.gain.estimate,
                "margin": result.margin,
                "adjusted_p": result.adjusted_p,
                "better": result.winner,
            }
            for name, result in comparison.metrics.items()
        },
    }


def _line(comparison: "Comparison", report: str) -> str:
    from pipeline.audit.report.compare_page import compare_headline

    words = compare_headline(comparison)
    return f"{words.answer}. {words.reason}\n{report}"
