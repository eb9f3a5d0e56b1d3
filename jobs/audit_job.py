"""`xytok audit`: prove that the codes of a run still sound like the speech."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions, tell
from jobs.measuring_options import Measuring, MeasuringOptions
from jobs.options import Engine, Json, Output, Run, flags
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.plural import plural

if TYPE_CHECKING:
    from pipeline.audit.audit import Measure
    from pipeline.audit.audit_output import Audit

_JUDGING = "Judging"


def audit(
    run: Run,
    /,
    *,
    sample: Annotated[SamplePlan, flags("Sample")] = SamplePlan(),
    list_sources: Annotated[
        bool,
        Parameter(
            group="Sample",
            help="hold every clip of every tar against rows and rejects; reads the tars whole.",
        ),
    ] = False,
    measuring: Measuring = MeasuringOptions(),
    baseline: Annotated[
        str | None, Parameter(group=_JUDGING, help="a file to compare content with.")
    ] = None,
    save_baseline: Annotated[
        str | None, Parameter(group=_JUDGING, help="write a baseline out of this audit.")
    ] = None,
    thresholds: Annotated[Thresholds, flags(_JUDGING)] = Thresholds(),
    codes_only: Annotated[
        bool, Parameter(group=_JUDGING, help="show the sound, but let only the codes decide.")
    ] = False,
    drop: Annotated[
        str | None,
        Parameter(
            group=_JUDGING,
            help="what `keep.parquet` drops: some of broken,drift,unusual,unjudged; default: "
            "broken,drift.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        Output,
        Parameter(help="the folder for the report; default: RUN/audit/<audit id>."),
    ] = None,
    engine: Engine = "inline",
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Measure, judge, write the page, and say what was found."""
    from pipeline.audit.audit_output import audit_output
    from pipeline.audit.judge.baseline import load_baseline, make_baseline
    from pipeline.audit.judge.baseline import save_baseline as save
    from pipeline.audit.keep_list import check_drop
    from pipeline.audit.report.notes import baseline_doubts

    drops = check_drop(drop)
    if sample.fraction is None and sample.per_shard < thresholds.min_clips:
        tell(
            f"`--per-shard {sample.per_shard}` is below `--min-clips {thresholds.min_clips}`: "
            f"shards with more than {plural(sample.per_shard, 'row')} cannot be judged. Raise "
            "`--per-shard`, or lower `--min-clips`"
        )
    request = measuring.request(run, sample, list_sources=list_sources, quiet=log.quiet)
    made = audit_output(
        request,
        baseline=load_baseline(request.storage, baseline) if baseline else None,
        thresholds=thresholds,
        codes_only=codes_only,
        drop=drops,
        measure=measure_with(engine),
        folder=output,
    )
    print(made.summary if json else "\n".join(_lines(made)), flush=True)
    if save_baseline:
        fresh = make_baseline(made.findings)
        save(request.storage, fresh, save_baseline)
        for doubt in baseline_doubts(made.judgement, fresh):
            tell(doubt)
    return made.judgement.exit_code


def measure_with(engine: str) -> "Measure | None":
    """How shards are measured: here, or as a map over a Ray cluster."""
    if engine == "inline":
        return None
    from pipeline.audit.audit import measure_on_ray

    return measure_on_ray


def _lines(made: "Audit") -> list[str]:
    from pipeline.audit.report.notes import asides, cost_words
    from pipeline.audit.report.wording import headline

    findings, judgement = made.findings, made.judgement
    words = headline(judgement)
    lines = [f"{words.answer}. {words.reason}"]
    for shard in judgement.shards:
        if shard.faults:
            names = ", ".join(fault.name for fault in shard.faults)
            lines.append(f"  {shard.verdict:16} {shard.shard}: {names}")
    lines += asides(findings, judgement)
    rows = sum(report.rows for report in findings.tokens)
    lines.append(
        f"{plural(len(findings.clips), 'clip')} sampled, {plural(rows, 'row')} checked, "
        f"{plural(len(findings.tokens), 'shard')}, {findings.seconds:.0f} s"
    )
    if cost := cost_words(findings):
        lines.append(cost)
    lines += [f"  note: {note}" for note in judgement.notes]
    lines.append(f"{made.folder}/report.html")
    return lines
