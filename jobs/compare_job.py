"""`xytok compare`: two runs or two checkpoints on the same clips, with paired differences."""

import argparse
import json
import tempfile
from typing import TYPE_CHECKING

from jobs.audit_job import add_measuring_options, audit_request, measure_with

if TYPE_CHECKING:
    from pipeline.audit.compare import Measured
    from pipeline.audit.judge.comparison import Comparison

EXAMPLE = "xytok compare s3://bucket/out-a s3://bucket/out-b --report compare.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("a", metavar="A", help="an output of `xytok tokenize`, or a checkpoint")
    parser.add_argument("b", metavar="B", help="another of the same kind")
    parser.add_argument(
        "--clips", nargs="+", metavar="SHARD", help="A and B are checkpoints: try them on these"
    )
    parser.add_argument("--per-shard", type=int, default=20, metavar="N", help="default: 20 clips")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another sample")
    parser.add_argument("--shards", nargs="+", default=[], metavar="TEXT", help="in their paths")
    add_measuring_options(parser)
    parser.add_argument("--codec-b", metavar="SOURCE", help="of B; default: as `--codec`")
    parser.add_argument("--report", metavar="FILE", default="compare.html")
    parser.add_argument("--engine", choices=("inline", "ray"), default="inline")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    parser.set_defaults(fraction=None, stratify=None, list_sources=False)


def run(args: argparse.Namespace) -> int:
    """Measure both sides, write the page, and say which is better."""
    from pipeline.audit.report.compare_report import render_comparison
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options

    with tempfile.TemporaryDirectory(prefix="xytok-compare-") as folder:
        measured = _measure(args, folder)
        page = render_comparison(measured.comparison, measured.sides)
    storage = Storage(read_storage_options(args.storage_options))
    storage.write_finished(args.report, page.encode())
    found = _differences(measured.comparison)
    print(json.dumps(found, indent=1) if args.json else _line(measured.comparison, args.report))
    return 0


def _measure(args: argparse.Namespace, folder: str) -> "Measured":
    from pipeline.audit.compare import compare_runs, trial_runs
    from pipeline.errors import UsageError
    from pipeline.worker.codec_request import CodecRequest

    labels = (args.a, args.b)
    outputs, sources = labels, (args.codec, args.codec_b or args.codec)
    if args.clips:
        if args.codec or args.codec_b:
            raise UsageError(
                "`--codec` and `--clips` do not go together: with `--clips`, A and B are the "
                "checkpoints. Leave `--codec` and `--codec-b` out"
            )
        precision = args.precision or "exact"
        codecs = [CodecRequest(each, args.codec_config, precision, args.device) for each in labels]
        a, b = trial_runs(codecs, args.clips, folder, args.per_shard)
        outputs, sources = (a, b), labels
    request = audit_request(argparse.Namespace(**{**vars(args), "output": outputs[0]}))
    return compare_runs(request, outputs, labels, sources, measure_with(args.engine))


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
                "difference": result.change.difference.estimate,
                "low": result.change.difference.low,
                "high": result.change.difference.high,
                "adjusted_p": result.adjusted_p,
                "better": result.winner,
            }
            for name, result in comparison.metrics.items()
        },
    }


def _line(comparison: "Comparison", report: str) -> str:
    from pipeline.audit.report.compare_report import compare_headline

    words = compare_headline(comparison)
    return f"{words.answer}. {words.reason}\n{report}"
