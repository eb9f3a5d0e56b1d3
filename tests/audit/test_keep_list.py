"""The keep list says of every row whether to train on it, and why not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import run as xytok
from pipeline.audit.findings import ClipFinding, Scores
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.judgement import ShardVerdict
from pipeline.audit.judge.verdict import judge
from pipeline.audit.keep_list import DROPS, _decisions, _kept
from pipeline.inspect.drop import drop_clips
from pipeline.storage.client import Storage
from tests.support.audit_run import (
    FIRST,
    audit_run,
    change_codes,
    change_part,
    copy_run,
    flip_one_percent,
    make_run,
)
from tests.support.audit_simulation import clean_tokens, clip
from tests.support.shard_maker import pairs, write_shard


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("keep") / "clean")


@pytest.fixture
def run(clean_run: Path, tmp_path: Path) -> Path:
    return copy_run(clean_run, tmp_path / "run")


def kept(run: Path, *words: str) -> list[dict[str, object]]:
    folder = run / "report"
    options = ["--metrics", "acoustics", "--processes", "0", "--device", "cpu", "--codes-only"]
    xytok(["audit", str(run), *options, "--quiet", "--output", str(folder), *words])
    rows: list[dict[str, object]] = pq.read_table(folder / "keep.parquet").to_pylist()
    return rows


def of_first(rows: list[dict[str, object]], is_first: bool = True) -> list[dict[str, object]]:
    return [row for row in rows if str(row["shard"]).endswith(FIRST) == is_first]


def test_every_row_of_a_clean_run_is_kept_and_bound_to_its_part(run: Path) -> None:
    rows = kept(run, "--per-shard", "3", "--min-clips", "3")
    parts = {}
    for path in (run / "manifests").rglob("*.json"):
        manifest = json.loads(path.read_text())
        parts[manifest["shard"]] = manifest["part"]
    keys = [
        (shard, row, key)
        for shard in sorted(parts)
        for row, key in enumerate(
            pq.read_table(run / parts[shard]["path"], columns=["key"])["key"].to_pylist()
        )
    ]
    assert [(row["shard"], row["row"], row["key"]) for row in rows] == keys
    assert all(row["keep"] and row["reason"] == "" for row in rows)
    assert all(row["part_sha256"] == parts[row["shard"]]["sha256"] for row in rows)
    assert sum(row["gain_db"] is not None for row in rows) == 6
    assert sum(row["flip_rate"] == 0 for row in rows) == 6


def test_a_drifted_shard_is_dropped_whole_unless_it_is_wanted(run: Path) -> None:
    change_codes(run, flip_one_percent)
    rows = kept(run)
    assert not any(row["keep"] for row in of_first(rows))
    assert {row["reason"] for row in of_first(rows)} == {"drift: scattered flips"}
    assert all(row["keep"] for row in of_first(rows, is_first=False))
    wanted = kept(run, "--drop", "broken")
    assert all(row["keep"] for row in wanted)
    assert {row["reason"] for row in of_first(wanted)} == {"drift: scattered flips"}


def test_of_a_shard_with_stuck_rows_only_those_are_dropped(run: Path) -> None:
    def stick(codes: list[np.ndarray]) -> list[np.ndarray]:
        codes[5] = np.repeat(codes[5][:, :1], codes[5].shape[1], axis=1)
        return codes

    change_codes(run, stick)
    # So few clips that chance does not draw the row.
    rows = kept(run, "--no-reencode", "--per-shard", "1")
    assert [row["row"] for row in rows if not row["keep"]] == [5]
    assert rows[5]["reason"] == "broken: stuck"


def test_a_bad_row_that_was_dropped_is_no_fault_any_more_and_is_never_sampled(
    run: Path, tmp_path: Path
) -> None:
    def stick(codes: list[np.ndarray]) -> list[np.ndarray]:
        codes[5] = np.repeat(codes[5][:, :1], codes[5].shape[1], axis=1)
        return codes

    change_codes(run, stick)
    key = str(of_first(kept(run))[5]["key"])
    drop_clips(str(run), [key], "stuck", Storage(), shard=Path(FIRST).stem)
    rows = of_first(kept(run, "--fraction", "1"))
    assert [row["key"] for row in rows if not row["keep"]] == [key]
    assert rows[5]["reason"] == "dropped: stuck"
    assert [row["key"] for row in rows if row["gain_db"] is None] == [key]
    words = ["audit", str(run), "--metrics", "acoustics", "--processes", "0", "--codes-only"]
    assert xytok([*words, "--quiet", "--output", str(tmp_path / "again")]) == 0


def test_what_is_left_of_a_shard_is_judged_by_all_of_it_and_no_dropped_key_is_a_copy(
    tmp_path: Path,
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(9))
    run = make_run(tmp_path / "out", str(tmp_path / "in"), root=str(tmp_path / "in"))

    def repeat(table: pa.Table) -> pa.Table:
        keys = table["key"].to_pylist()
        place = table.schema.get_field_index("key")
        return table.set_column(place, table.schema.field("key"), [[keys[0], *keys[:8]]])

    change_part(run, repeat, "a.tar")
    keys = pq.read_table(next((run / "tokens").rglob("*.parquet")), columns=["key"])["key"]
    gone = list(dict.fromkeys(map(str, keys.to_pylist())))[:3]
    (before,) = audit_run(run).tokens
    assert (before.duplicate_key_rows, before.kept_rows) == (1, 9)
    drop_clips(str(run), gone, "poor", Storage())
    found = audit_run(run)
    (after,) = found.tokens
    # Four rows have these three keys; the five left are fewer than `--min-clips`, but all.
    assert (after.duplicate_key_rows, after.kept_rows) == (0, 5)
    (shard,) = judge(found, codes_only=True).shards
    assert (shard.num_compared, shard.doubts) == (5, ())


def test_a_shard_that_lost_rows_is_dropped(run: Path) -> None:
    change_part(run, lambda table: table.slice(3))
    rows = of_first(kept(run))
    assert {(row["keep"], row["reason"]) for row in rows} == {(False, "broken: missing rows")}


def test_what_cannot_be_judged_is_dropped_on_demand(run: Path) -> None:
    gone = ("--source-map", "/=/nowhere/")
    rows = kept(run, *gone)
    assert all(row["keep"] for row in rows)
    assert all(str(row["reason"]).startswith("cannot judge: 0 of ") for row in rows)
    assert not any(row["keep"] for row in kept(run, *gone, "--drop", "broken,unjudged"))


def decided(
    faults: tuple[str, ...], drop: tuple[str, ...], *, doubts: tuple[str, ...] = (), **facts: Any
) -> list[tuple[bool, str]]:
    """What a list says of the six rows of a shard with faults, of which row 2 repeats a frame."""
    verdict = ShardVerdict(
        shard="a.tar",
        verdict="ok",
        codes="ok",
        codes_state="equal",
        content=facts.get("content", "ok"),
        faults=tuple(fault(name, "") for name in faults),
        doubts=doubts,
        odd_clips=(),
        unseen_share=0.0,
        num_clips=6,
        num_compared=6,
        num_differing=0,
        flip_rates=(),
        changes={},
    )
    report = replace(clean_tokens("a.tar", 6), flagged={"stuck": (2,)})
    found = _decisions(verdict, report, facts.get("clips", ()), 6)
    return [_kept(row, {DROPS[word] for word in drop}) for row in found]


def heard_alike() -> list[ClipFinding]:
    return [clip("a.tar", row, Scores()) for row in range(6)]


def test_a_silent_row_of_a_drifted_shard_is_dropped_with_it() -> None:
    rows = decided(("wrong checkpoint", "silence"), ("broken", "drift"), clips=heard_alike())
    assert set(rows) == {(False, "drift: wrong checkpoint")}


def test_a_row_is_dropped_for_any_of_the_things_that_speak_against_it() -> None:
    doubts = ("0 of 20 sampled clips encoded again",)
    content: Any = {"content": "unusual content", "doubts": doubts, "clips": heard_alike()}
    rows = decided(("other content",), ("broken", "drift", "unjudged"), **content)
    assert set(rows) == {(False, f"cannot judge: {doubts[0]}")}
    rows = decided(("wrong checkpoint", "other content"), ("unusual",), **content)
    assert set(rows) == {(False, "unusual content: other content")}


def test_silence_heard_in_sampled_clips_drops_the_shard_and_of_stuck_rows_only_those() -> None:
    heard = decided(("silence",), ("unusual",), content="unusual content", clips=heard_alike())
    assert set(heard) == {(False, "unusual content: silence")}
    rows = decided(("silence",), ("unusual",), clips=heard_alike())
    assert [keep for keep, _ in rows] == [True, True, False, True, True, True]


def test_a_row_that_is_as_still_as_its_audio_is_not_called_broken() -> None:
    assert decided((), ("broken",), clips=heard_alike())[2] == (True, "unusual content: silence")
    assert decided((), ("broken",))[2] == (False, "broken: stuck")


def test_an_unknown_word_is_refused_before_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert xytok(["audit", "out", "--drop", "broken,bad"]) == 2
    assert "`--drop broken,bad` has `bad`" in capsys.readouterr().err
