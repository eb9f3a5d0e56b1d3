"""What an audit did not see it does not call good, and what is good it does not call worse."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.cli import run as xytok
from pipeline.audit.findings import AuditFindings, ClipFinding, Scores
from pipeline.audit.judge.baseline import Baseline, make_baseline
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.verdict import judge
from pipeline.audit.report.wording import headline, next_steps
from pipeline.audit.sample.originals import SourceMap
from pipeline.audit.sample.sampling import SamplePlan, dnsmos_band
from tests.support.audit_run import (
    FIRST,
    audit_run,
    change_codes,
    change_part,
    copy_run,
    make_run,
)
from tests.support.audit_simulation import (
    audit_of,
    clean_shard,
    clean_tokens,
    clip,
    pool,
    with_drift,
)
from tests.support.places import ROOT, SPEECH
from tests.support.shard_maker import float_wav, pair, pairs, tar_bytes, write_shard

Change = Callable[[Scores], Scores]
FILES_WITH_WORDS = ("summary.json", "report.html")


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("doubts") / "clean")


@pytest.fixture
def run(clean_run: Path, tmp_path: Path) -> Path:
    return copy_run(clean_run, tmp_path / "run")


def shard_of(name: str, seed: int, change: Change = lambda scores: scores) -> list[ClipFinding]:
    clips = clean_shard(name, pool(), np.random.default_rng(seed), 10)
    return [replace(each, scores=change(each.scores)) for each in clips]


def baseline_of(num_shards: int, change: Change = lambda scores: scores) -> Baseline:
    shards = (shard_of(f"good-{n}", n, change) for n in range(num_shards))
    return make_baseline(audit_of([each for shard in shards for each in shard]))


def judged(clips: list[ClipFinding], baseline: Baseline | None = None) -> Judgement:
    return judge(audit_of(clips), baseline)


def without_drift(clips: list[ClipFinding]) -> list[ClipFinding]:
    return [replace(each, drift=None) for each in clips]


def steps(judgement: Judgement) -> dict[str, str]:
    return {step.title: step.advice for step in next_steps(judgement)}


def test_a_tar_that_is_gone_is_named_and_no_good_end(run: Path) -> None:
    here = next(report.shard for report in audit_run(run).tokens if report.shard.endswith(FIRST))
    gone = SourceMap((("/", "/nowhere/"),))
    found = audit_run(run, source_map=gone)
    assert here in judge(found).unread
    assert judge(found).exit_code == 1
    assert headline(judge(found)).answer == "Cannot judge: the originals are out of reach"
    elsewhere = SourceMap(((str(SPEECH / "Emilia/EN/EN-B000001.tar"), "/nowhere/1.tar"),))
    some = judge(audit_run(run, source_map=elsewhere))
    assert headline(some).answer == "Cannot judge: some originals are out of reach"
    assert "--source-map" in steps(judge(found))["originals out of reach"]
    assert "too few clips" not in steps(judge(found))
    (note,) = (note for note in judge(found).notes if "could not be looked at" in note)
    assert "/nowhere/" in note


def test_few_measured_shards_are_too_few_and_some_are_told() -> None:
    one, two, three = (shard_of(name, 1) for name in "abc")
    silent = [replace(each, drift=None, reasons={"original": "unreadable"}) for each in three]
    found = judge(audit_of([*one, *two, *silent]), codes_only=True)
    assert (found.verdict, found.exit_code) == ("cannot judge", 1)
    assert headline(found).answer == "Cannot judge these codes"
    reason = headline(found).reason
    assert "0 of 10 sampled clips encoded again, 10 unreadable; 8 needed (c)" in reason
    assert [shard.verdict for shard in found.shards] == ["ok", "ok", "cannot judge"]


def test_far_worse_than_a_small_baseline_is_unusual_and_the_baseline_is_doubted() -> None:
    def ruin(scores: Scores) -> Scores:
        return replace(scores, stoi=0.2)

    good = baseline_of(4)
    found = judged(shard_of("bad", 9, ruin), good)
    assert found.shards[0].verdict == "unusual content"
    assert any("knows 4 shards" in note for note in found.notes)
    assert judged(shard_of("fine", 9), good).verdict == "ok"
    assert not any("knows" in note for note in judged(shard_of("fine", 9), baseline_of(12)).notes)


def test_nearer_to_zero_is_not_worse() -> None:
    def at(length: float, gain: float) -> Change:
        return lambda scores: replace(scores, length_difference_seconds=length, gain_db=gain)

    good = baseline_of(12, at(-0.04, 2.0))
    assert judged(shard_of("whole frames", 20, at(0.0, -0.06)), good).verdict == "ok"
    assert judged(shard_of("almost a frame", 20, at(-0.079, -2.0)), good).verdict == "ok"
    for worse in (at(-0.04, 5.0), at(-0.04, -5.0), at(-0.2, 2.0), at(0.05, 2.0)):
        assert judged(shard_of("worse", 20, worse), good).verdict == "unusual content"


def silent_shard(folder: Path) -> Path:
    nothing = float_wav(np.zeros(48_000, np.float32))
    silence = [(f"nothing{n}.wav", nothing + bytes(2 * n)) for n in range(9)]
    write_shard(folder / "silent.tar", silence)
    return folder


def test_silence_is_found_whatever_metrics_were_asked_for(tmp_path: Path) -> None:
    inputs = silent_shard(tmp_path / "in")
    run = make_run(tmp_path / "out", str(inputs), root=str(inputs))
    (shard,) = judge(audit_run(run, groups=("stoi",))).shards
    assert "silence" in [fault.name for fault in shard.faults]


def test_an_interrupted_run_says_how_many_shards_are_left(run: Path) -> None:
    log = next((run / "events").iterdir())
    lines = log.read_text().splitlines()
    log.write_text("\n".join(line for line in lines if FIRST not in line) + "\n")
    for path in (*run.rglob("EN-B000000.*.json"), *run.rglob("EN-B000000.parquet")):
        path.unlink()
    found = audit_run(run)
    assert found.unfinished_shards == 1
    assert any("1 shard not finished" in note for note in judge(found).notes)
    assert audit_run(run, only=("EN-B000001",)).unfinished_shards is None


def test_codes_that_nobody_compared_are_not_called_right() -> None:
    noisy = shard_of("noisy", 3, lambda scores: replace(scores, dnsmos_original=1.0))
    unseen = headline(judged(without_drift(noisy), baseline_of(12)))
    assert "not compared" in unseen.reason
    assert "belong" not in unseen.reason
    assert "belong to their audio" in headline(judged(noisy, baseline_of(12))).reason


def test_a_figure_that_was_not_asked_for_is_not_missed() -> None:
    def only_sim(name: str) -> list[ClipFinding]:
        scores = [Scores(sim=0.9 + n / 1000) for n in range(10)]
        return [
            replace(clip(name, n, each), reasons={"stoi": "not_asked"})
            for n, each in enumerate(scores)
        ]

    found = judged([each for name in "abcde" for each in only_sim(name)])
    assert (found.verdict, found.missing) == ("ok", {})


@pytest.mark.parametrize("package", ["sim", "stoi", "pesq_wb"])
def test_a_metric_that_is_not_installed_is_no_good_end(package: str) -> None:
    clips = [each for n in range(6) for each in shard_of(f"s{n}", n)]
    assert judged(clips).verdict == "ok"
    absent = [replace(each, reasons={package: "not_installed"}) for each in clips]
    found = judged(absent)
    assert (found.verdict, found.exit_code) == ("cannot judge", 1)
    assert "is not installed" in headline(found).reason


def test_sound_of_which_nothing_was_measured_cannot_be_judged() -> None:
    nothing = [replace(each, scores=Scores()) for n in range(6) for each in shard_of(f"s{n}", n)]
    found = judged(nothing)
    assert (found.codes, found.content, found.verdict) == ("ok", "cannot judge", "cannot judge")
    assert headline(found).answer == "The codes are right; the sound cannot be judged"


@pytest.mark.parametrize("num_nan", [3, 10])
def test_sound_that_is_no_number_is_not_called_good_for_its_length(num_nan: int) -> None:
    shards = six_shards()
    ruined = [
        replace(each, scores=Scores(length_difference_seconds=0.0), reasons={"sim": "non_finite"})
        if each.row < num_nan
        else each
        for each in shard_of("ruined", 9)
    ]
    found = judged([*shards, *ruined])
    assert [shard.shard for shard in found.shards if shard.verdict != "ok"] == ["ruined"]
    (ruin,) = (shard for shard in found.shards if shard.shard == "ruined")
    assert (ruin.codes, ruin.content) == ("ok", "cannot judge")
    assert f"on {num_nan} of 10 decoded clips, mostly `non_finite`" in ruin.doubts[0]


def test_codes_that_were_not_encoded_again_are_not_called_right(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--device", "cpu"]
    words += ["--quiet", "--no-reencode", "--json", "--output", str(tmp_path)]
    xytok(words)
    assert json.loads(capsys.readouterr().out)["codes"] == "not asked"
    assert xytok([*words, "--codes-only"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["verdict"], summary["codes"]) == ("cannot judge", "not asked")
    assert summary["answer"] == "Cannot judge these codes"


def test_originals_in_a_compressed_tar_cannot_be_judged(tmp_path: Path) -> None:
    members = [each for n in range(9) for each in pair(f"clip{n}", 1.0, seed=n)]
    content = gzip.compress(tar_bytes(members))
    write_shard(tmp_path / "in" / "a.tar.gz", content)
    run = make_run(tmp_path / "out", str(tmp_path / "in"), root=str(tmp_path / "in"))
    found = judge(audit_run(run), codes_only=True)
    assert (found.verdict, found.exit_code) == ("cannot judge", 1)
    assert "9 no_offset" in headline(found).reason
    assert "plain tars" in steps(found)["codes not judged"]
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--device", "cpu"]
    assert xytok([*words, "--quiet", "--output", str(tmp_path / "report")]) == 1
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (summary["verdict"], summary["exit_code"]) == ("cannot judge", 1)
    assert summary["answer"] in (tmp_path / "report" / "report.html").read_text()


def test_rejected_clips_are_told(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", [*pairs(3), ("bad.mp3", b"not audio")])
    run = make_run(tmp_path / "out", str(tmp_path / "in"), root=str(tmp_path / "in"))
    (note,) = (note for note in judge(audit_run(run)).notes if "rejected" in note)
    assert note.startswith("1 of 4 clips (25.0%)")


def test_a_part_with_damaged_pages_is_one_broken_shard(run: Path) -> None:
    (path,) = (run / "tokens").rglob("EN-B000000.parquet")
    ruin_column(path, "key")
    found = audit_run(run)
    verdicts = {shard.shard.endswith(FIRST): shard for shard in judge(found).shards}
    assert verdicts[True].verdict == "broken"
    assert "cannot be read" in verdicts[True].faults[0].evidence
    assert verdicts[False].codes == "ok"


def ruin_column(path: Path, name: str) -> None:
    """Overwrite the pages of a column and leave the footer as it is."""
    metadata = pq.ParquetFile(path).metadata
    column = metadata.schema.names.index(name)
    chunk = metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 60)


def test_the_other_shard_of_a_duplicate_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / "in" / f"{name}.tar", pairs(2))
    run = make_run(tmp_path / "out", str(tmp_path / "in"), root=str(tmp_path / "in"))
    found: AuditFindings = audit_run(run)
    (fault,) = (fault for shard in judge(found).shards for fault in shard.faults)
    assert fault.name == "duplicate clips"
    assert "`a.tar`" in fault.evidence


def test_any_number_in_a_corpus_has_a_dnsmos_band() -> None:
    assert [dnsmos_band(value) for value in (3.7, 1e308, -9.0)] == ["3.5", "5.0", "0.0"]
    assert dnsmos_band(None) is None


def test_a_baseline_goes_where_it_is_told_and_its_doubts_are_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "folder" / "base.json"
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--device", "cpu"]
    words += ["--quiet", "--per-shard", "9"]
    assert xytok([*words, "--codes-only", "--save-baseline", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("The codes are right.")
    assert "The baseline knows 2 shards" in err
    saved = json.loads(path.read_text())
    assert saved["sampling"] == {"per_shard": 9, "fraction": None, "stratify": None, "seed": 0}
    assert "scipy" in saved["versions"]
    # Two good shards do not say how much good ones differ.
    assert xytok([*words, "--baseline", str(path)]) == 1
    assert "The codes are right; the sound cannot be judged" in capsys.readouterr().out
    change_part(run, lambda table: table.slice(3))
    assert xytok([*words, "--save-baseline", str(path)]) == 1
    assert "whose verdict is `broken`" in capsys.readouterr().err


def test_a_negative_number_of_processes_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(run), "--metrics", "stoi", "--processes", "-1", "--quiet"]
    assert xytok([*words, "--device", "cpu"]) == 2
    assert "`--processes -1` is below 0" in capsys.readouterr().err


def test_a_stuck_row_is_heard_though_chance_did_not_draw_it(run: Path) -> None:
    def stick(codes: list[np.ndarray]) -> list[np.ndarray]:
        # Row 5 repeats its first frame, which its audio does not.
        codes[5] = np.repeat(codes[5][:, :1], codes[5].shape[1], axis=1)
        return codes

    change_codes(run, stick)
    found = audit_run(run, plan=SamplePlan(per_shard=1))
    (row,) = (clip for clip in found.clips if clip.shard.endswith(FIRST) and not clip.drawn)
    assert (row.row, row.drift is not None) == (5, True)
    report = next(report for report in found.tokens if report.shard.endswith(FIRST))
    assert report.flagged == {"stuck": (5,)}
    (shard,) = (each for each in judge(found, codes_only=True).shards if FIRST in each.shard)
    assert "stuck frames" in [fault.name for fault in shard.faults]


def unread(clips: list[ClipFinding]) -> list[ClipFinding]:
    return [replace(each, drift=None, reasons={"original": "unreadable"}) for each in clips]


def unheard(clips: list[ClipFinding]) -> list[ClipFinding]:
    """Clips with one code that differs, and no sound of either side."""
    return [
        with_drift(each, differing_codes=(1,) + (0,) * 7, differing_frames=1, paired=Scores())
        for each in clips
    ]


def six_shards(change: Change = lambda scores: scores) -> list[ClipFinding]:
    return [each for n in range(6) for each in shard_of(f"s{n}", n, change)]


def only_sim(scores: Scores) -> Scores:
    return Scores(sim=scores.sim)


# What README.md says beside "cannot judge", a judgement that ends so, and its own words.
REASONS: dict[str, tuple[Callable[[], Judgement], str]] = {
    "originals cannot be read": (lambda: judged(unread(six_shards())), "10 unreadable"),
    "is not installed": (
        lambda: judged([replace(c, reasons={"sim": "not_installed"}) for c in six_shards()]),
        "SIM cannot be measured: the package is not installed",
    ),
    "no clip was sampled": (
        lambda: judge(audit_of([], [clean_tokens("a", rows=0)])),
        "no part has a row",
    ),
    "fewer clips of a shard than `--min-clips`": (
        lambda: judge(audit_of(shard_of("a", 1)[:5], [clean_tokens("a")]), codes_only=True),
        "5 of 5 sampled clips encoded again; 8 needed",
    ),
    "codes differ, and SIM and STOI were not measured": (
        lambda: judged(unheard(six_shards())),
        "neither SIM nor STOI was measured",
    ),
    "fewer than three shards of a language": (
        lambda: judged(shard_of("a", 1)),
        "fewer than 3 shards of language `en` to compare with",
    ),
    "another speaker model": (
        lambda: judged(six_shards(only_sim), replace(baseline_of(12), sim_model="other")),
        "the baseline has another speaker model",
    ),
    "no metric that judges was measured": (
        lambda: judged(six_shards(lambda _: Scores())),
        "no metric that judges was measured",
    ),
    "`--codes-only` with `--no-reencode`": (
        lambda: judge(
            replace(audit_of(without_drift(six_shards())), reencoded=False), codes_only=True
        ),
        "only tokens were checked",
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_to_judge_nothing_is_told_and_in_the_readme(reason: str) -> None:
    make, words = REASONS[reason]
    found = make()
    assert (found.verdict, found.exit_code) == ("cannot judge", 1)
    assert words in " ".join([*found.doubts, *(d for s in found.shards for d in s.doubts)])
    assert reason in reasons_of_readme()


def test_the_readme_lists_no_other_reasons() -> None:
    assert reasons_of_readme().count("\n- ") == len(REASONS)


def reasons_of_readme() -> str:
    text = (ROOT / "README.md").read_text()
    return text.partition('or "cannot judge", for one of these reasons:')[2].partition("\n\n`--")[0]


def test_a_baseline_that_is_not_there_is_wrong_usage_before_anything_is_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(run), "--metrics", "stoi", "--quiet", "--output", str(tmp_path / "a")]
    other = tmp_path / "other.json"
    other.write_text("[1]")
    for path in (tmp_path / "nothing.json", other, tmp_path):
        assert xytok([*words, "--baseline", str(path)]) == 2
        told = capsys.readouterr().err
        assert f"`--baseline {path}` cannot be used" in told
        assert "make one with `xytok audit --save-baseline`" in told.lower()
    assert not (tmp_path / "a").exists()


def test_a_sample_too_small_to_judge_is_told_at_the_start(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--device", "cpu"]
    words += ["--quiet", "--codes-only", "--output", str(tmp_path)]
    assert xytok([*words, "--per-shard", "4"]) == 1
    assert "`--per-shard 4` is below `--min-clips 8`" in capsys.readouterr().err
    assert xytok([*words, "--per-shard", "4", "--min-clips", "4"]) == 0
    assert "--min-clips" not in capsys.readouterr().err


def test_one_of_anything_is_not_told_as_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(1))
    run = make_run(tmp_path / "out", str(tmp_path / "in"), root=str(tmp_path / "in"))
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--device", "cpu"]
    xytok([*words, "--quiet", "--output", str(tmp_path / "report")])
    out = capsys.readouterr().out
    assert "1 clip sampled, 1 row checked, 1 shard, " in out
    texts = (out, *((tmp_path / "report" / name).read_text() for name in FILES_WITH_WORDS))
    assert not [
        found for text in texts for found in re.findall(r"\b1 (?!is )[a-z-]+s\b.{20}", text)
    ]
