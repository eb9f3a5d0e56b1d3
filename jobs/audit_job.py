"""`xytok audit`: prove that the codes of a run still sound like the speech."""

import argparse
from typing import TYPE_CHECKING

from jobs.codec_options import complain
from jobs.threshold_options import add_threshold_options, thresholds_of

if TYPE_CHECKING:
    from pipeline.audit.audit import AuditRequest, Measure
    from pipeline.audit.audit_output import Audit

EXAMPLE = "xytok audit s3://bucket/out --per-shard 20 --baseline baseline.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("output", metavar="OUT", help="the output folder of `xytok tokenize`")
    sample = parser.add_argument_group("sample")
    sample.add_argument("--per-shard", type=int, default=20, metavar="N", help="default: 20 clips")
    sample.add_argument("--fraction", type=float, metavar="SHARE", help="instead of a number")
    sample.add_argument("--stratify", choices=("language", "speaker", "dnsmos"))
    sample.add_argument("--seed", type=int, default=0, help="another seed, another sample")
    sample.add_argument("--shards", nargs="+", default=[], metavar="TEXT", help="in their paths")
    sample.add_argument(
        "--list-sources",
        action="store_true",
        help="hold every clip of every tar against rows and rejects; reads the tars whole",
    )
    add_measuring_options(parser)
    judging = parser.add_argument_group("judging")
    judging.add_argument("--baseline", metavar="FILE", help="what to compare content with")
    judging.add_argument("--save-baseline", metavar="FILE", help="write one out of this audit")
    add_threshold_options(judging)
    run = parser.add_argument_group("run")
    run.add_argument("--report", metavar="FOLDER", help="default: OUT/audit/<audit id>")
    run.add_argument("--engine", choices=("inline", "ray"), default="inline")
    run.add_argument("--quiet", action="store_true", help="no progress")
    run.add_argument("--json", action="store_true", help="print the summary as JSON")


def add_measuring_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `audit` and `compare` have in common."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--metrics", metavar="LIST", help="of sim,stoi,pesq,acoustics,dnsmos")
    group.add_argument("--sim-model", default="campplus", metavar="MODEL")
    group.add_argument("--codec", metavar="SOURCE", help="default: where the run had it")
    group.add_argument("--codec-config", metavar="FILE")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    group.add_argument(
        "--precision", choices=("exact", "fast"), help="to re-encode with; default: as the run"
    )
    group.add_argument("--no-reencode", action="store_true", help="skip the check for drift")
    group.add_argument(
        "--flip-rate",
        type=float,
        metavar="RATE",
        help="expected between the run's platform and here",
    )
    group.add_argument("--processes", type=int, metavar="N", help="default: one a core; 0: none")
    group.add_argument(
        "--source-map", action="append", default=[], metavar="OLD=NEW", help="shards moved"
    )
    group.add_argument("--storage-options", metavar="@FILE", help="endpoint and credentials")


def run(args: argparse.Namespace) -> int:
    """Measure, judge, write the page, and say what was found."""
    from pipeline.audit.audit_output import audit_output
    from pipeline.audit.judge.baseline import load_baseline, make_baseline, save_baseline
    from pipeline.audit.report.notes import baseline_doubts

    request = audit_request(args)
    storage = request.storage
    audit = audit_output(
        request,
        baseline=load_baseline(storage, args.baseline) if args.baseline else None,
        thresholds=thresholds_of(args),
        measure=measure_with(args.engine),
        folder=args.report,
    )
    print(audit.summary if args.json else "\n".join(_lines(audit)), flush=True)
    if args.save_baseline:
        fresh = make_baseline(audit.findings)
        save_baseline(storage, fresh, args.save_baseline)
        for doubt in baseline_doubts(audit.judgement, fresh):
            complain(doubt)
    return audit.judgement.exit_code


def audit_request(args: argparse.Namespace) -> "AuditRequest":
    """The request in a command line."""
    from pipeline.audit.audit import AuditRequest
    from pipeline.audit.metrics.scores import check_groups
    from pipeline.audit.sample.originals import SourceMap
    from pipeline.audit.sample.sampling import SamplePlan
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options

    return AuditRequest(
        output=args.output,
        storage=Storage(read_storage_options(args.storage_options)),
        plan=SamplePlan(args.per_shard, args.fraction, args.stratify, args.seed),
        codec=args.codec,
        codec_config=args.codec_config,
        device=args.device,
        precision=args.precision,
        groups=check_groups(args.metrics),
        sim_model=args.sim_model,
        source_map=SourceMap.parse(args.source_map),
        only=tuple(args.shards),
        reencode=not args.no_reencode,
        processes=args.processes,
        expected_flip_rate=args.flip_rate,
        list_sources=args.list_sources,
        quiet=args.quiet,
    )


def measure_with(engine: str) -> "Measure | None":
    """How shards are measured: here, or as a map over a Ray cluster."""
    if engine == "inline":
        return None
    from pipeline.audit.ray_map import measure_on_ray

    return measure_on_ray


def _lines(audit: "Audit") -> list[str]:
    from pipeline.audit.report.wording import headline

    findings, judgement = audit.findings, audit.judgement
    words = headline(judgement)
    lines = [f"{words.answer}. {words.reason}"]
    for shard in judgement.shards:
        if shard.verdict not in ("ok", "too few clips"):
            names = ", ".join(fault.name for fault in shard.faults)
            lines.append(f"  {shard.verdict:16} {shard.shard}: {names}")
    rows = sum(report.rows for report in findings.tokens)
    lines.append(
        f"{len(findings.clips)} clips sampled, {rows:,} rows checked, {len(findings.tokens)} "
        f"shards, {findings.seconds:.0f} s"
    )
    lines += [f"  note: {note}" for note in judgement.notes]
    lines.append(f"{audit.folder}/report.html")
    return lines
