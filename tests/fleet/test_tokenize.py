"""The command: the thinnest line through everything, resume, refusals, exit codes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jobs import cli
from pipeline.output.events import read_events
from pipeline.storage.client import Storage
from tests.support.places import SPEECH
from tests.support.shard_maker import Member, audio, pair, pairs, tar_bytes, write_shard
from tests.support.tmpfs import mounted_tmpfs
from xy_codec import load_codec
from xy_codec.xy.packed_model import PackedEncoder

INLINE = ("--codec", "fake", "--engine", "inline")


def tokenize(*words: object, codec: str = "fake") -> int:
    line = ["tokenize", *map(str, words), "--codec", codec, "--engine", "inline", "--quiet"]
    return cli.run([*line, "--decode-threads", "1"])


def tree(output: Path) -> dict[str, str]:
    return {
        str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(output.rglob("*"))
        if p.is_file() and p.name != "run.json" and not {"events", "lease"} & set(p.parts)
    }


def test_real_speech_becomes_parts_rejects_and_manifests(tmp_path: Path) -> None:
    assert tokenize(SPEECH, tmp_path / "out", "--root", SPEECH) == 0
    rows = duckdb.sql(
        f"select key, len(codes) as k, len(codes[1]) as t, num_frames, duration, json_duration "
        f"from '{tmp_path}/out/tokens/**/*.parquet'"
    ).fetchall()
    assert len(rows) > 50
    for _, books, frames, num_frames, duration, json_duration in rows:
        assert (books, frames) == (8, num_frames)
        assert num_frames == pytest.approx(duration * 12.5, abs=1)
        assert json_duration == pytest.approx(duration, abs=0.2)
    both = {p.parent.parent.name for p in tmp_path.glob("out/tokens/*/EN/EN-B000000.parquet")}
    assert both == {"Emilia", "Emilia-YODAS"}
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["identity"]["codec"]["name"] == "fake"


def test_rerun_does_nothing(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenize(corpus / "in", corpus / "out") == 0
    before = {p: p.stat().st_mtime_ns for p in corpus.glob("out/[!e]*/**/*") if p.is_file()}
    capsys.readouterr()
    assert tokenize(corpus / "in", corpus / "out", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["done"], summary["skipped"]) == (0, 3)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_lost_manifest_is_done_again_to_the_same_bytes(corpus: Path) -> None:
    tokenize(corpus / "in", corpus / "out")
    before = tree(corpus / "out")
    next(corpus.glob("out/manifests/**/s1.*.json")).unlink()
    assert tokenize(corpus / "in", corpus / "out") == 0
    assert tree(corpus / "out") == before


def test_added_shards_are_just_done(corpus: Path) -> None:
    tokenize(corpus / "in", corpus / "out")
    write_shard(corpus / "in/s9.tar", pairs(2, prefix="s9-"))
    assert tokenize(corpus / "in", corpus / "out") == 0
    assert len(list(corpus.glob("out/manifests/**/*.json"))) == 4


def test_a_replaced_shard_is_named_refused_and_redone_when_asked(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize(corpus / "in", corpus / "out")
    write_shard(corpus / "in/s1.tar", pairs(3, prefix="new-"))
    assert tokenize(corpus / "in", corpus / "out") == 2
    error = capsys.readouterr().err
    assert "s1.tar" in error
    assert "--redo-changed" in error
    assert tokenize(corpus / "in", corpus / "out", "--redo-changed") == 0
    assert len(list(corpus.glob("out/manifests/**/s1.*.json"))) == 1
    (part,) = corpus.glob("out/tokens/**/s1.parquet")
    assert pq.read_table(part)["key"].to_pylist() == ["new-0000", "new-0001", "new-0002"]


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--precision", "fast", "codec.precision: output has `exact`, this run has `fast`"),
        ("--codec-option", "overlap_seconds=5", "codec.options.overlap_seconds: output has `10.0`"),
        ("--where", "dnsmos > 3", "where: output has `None`, this run has `dnsmos > 3`"),
        ("--limit", "2", "limit: output has `None`, this run has `2`"),
        ("--max-clip-seconds", "9", "max_clip_seconds: output has `None`, this run has `9.0`"),
    ],
)
def test_another_identity_is_refused_before_work_with_both_values(
    corpus: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, shown: str
) -> None:
    tokenize(corpus / "in", corpus / "out")
    before = tree(corpus / "out")
    assert tokenize(corpus / "in", corpus / "out", flag, value) == 2
    assert shown in capsys.readouterr().err
    assert tree(corpus / "out") == before


def test_another_checkpoint_is_refused_before_work_with_both_values(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize(corpus / "in", corpus / "out")
    before = tree(corpus / "out")
    assert tokenize(corpus / "in", corpus / "out", codec="xy-nano") == 2
    message = capsys.readouterr().err
    checkpoint = load_codec("xy-nano").identity.checkpoint_sha256
    assert (
        f"codec.checkpoint_sha256: output has `{'0' * 64}`, this run has `{checkpoint}`" in message
    )
    assert tree(corpus / "out") == before


def test_a_damaged_tar_fails_the_run_unless_allowed(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tar_bytes(pairs(4))
    write_shard(corpus / "in/s1.tar", whole[: len(whole) // 2])
    assert tokenize(corpus / "in", corpus / "out") == 3
    assert "--allow-damaged" in capsys.readouterr().err
    assert len(list(corpus.glob("out/manifests/**/*.json"))) == 3
    assert tokenize(corpus / "in", corpus / "out2", "--allow-damaged") == 0


def test_too_many_rejects_stop_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    garbage: list[Member] = [(f"g{n}.mp3", b"garbage") for n in range(250)]
    write_shard(tmp_path / "in/s.tar", [*pairs(2), *garbage])
    assert tokenize(tmp_path / "in", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "99.2%" in error
    assert "undecodable" in error
    assert tokenize(tmp_path / "in", tmp_path / "out2", "--max-reject-rate", "1") == 0


def test_the_rejects_of_a_small_run_are_judged_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    garbage: list[Member] = [(f"g{n}.mp3", b"garbage") for n in range(3)]
    write_shard(tmp_path / "in/a.tar", garbage)
    write_shard(tmp_path / "in/b.tar", pairs(5))
    assert tokenize(tmp_path / "in", tmp_path / "out", "--max-reject-rate", "0.3") == 1
    assert "37.5%" in capsys.readouterr().err
    assert len(list(tmp_path.glob("out/manifests/**/*.json"))) == 2
    assert tokenize(tmp_path / "in", tmp_path / "out2", "--max-reject-rate", "0.4") == 0


def test_wrong_options_are_told_all_at_once_before_work(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--limit", "0", "--max-clip-seconds", "-1", "--where", "import os"]
    assert tokenize(corpus / "in", corpus / "out", *line) == 2
    error = capsys.readouterr().err
    assert all(flag in error for flag in ("--limit", "--max-clip-seconds", "--where"))
    assert not (corpus / "out").exists()


def test_a_literal_secret_is_refused_and_never_shown(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    literal = '{"key": "AKIA", "secret": "hush-hush"}'
    assert tokenize(corpus / "in", corpus / "out", "--storage-options", literal) == 2
    in_url = "s3://AKIA:hush-hush@bucket/x.tar"
    assert tokenize(in_url, corpus / "out") == 2
    captured = capsys.readouterr()
    assert "hush-hush" not in captured.err + captured.out
    assert "@FILE" in captured.err


def test_inputs_that_name_nothing_are_all_named(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [corpus / "in/s{0..4}.tar", corpus / "none/*.tar"]
    assert tokenize(*inputs, corpus / "out") == 2
    error = capsys.readouterr().err
    assert all(name in error for name in ("s3.tar", "s4.tar", "none/*.tar"))
    assert "s2.tar" not in error


@pytest.mark.parametrize("content", [b"\xff\xfe\x00s\x00", b"a.tar\0b.tar"])
def test_a_corrupt_input_list_is_refused(
    corpus: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (corpus / "list.txt").write_bytes(content)
    assert tokenize(f"@{corpus}/list.txt", corpus / "out") == 2
    assert "list.txt" in capsys.readouterr().err


def test_lists_ranges_and_max_shards_choose_shards(corpus: Path) -> None:
    (corpus / "list.txt").write_text(f"# chosen\n{corpus}/in/s{{0..1}}.tar\n\n{corpus}/in/s1.tar\n")
    assert tokenize(f"@{corpus}/list.txt", corpus / "out") == 0
    assert len(list(corpus.glob("out/manifests/**/*.json"))) == 2
    assert tokenize(corpus / "in", corpus / "out2", "--max-shards", "1") == 0
    assert len(list(corpus.glob("out2/manifests/**/*.json"))) == 1


def test_a_full_disk_is_a_clear_error_without_partial_files(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=64k") as disk:
        rng = np.random.default_rng(0)
        members = [m for n in range(40) for m in pair(f"k{n}", 8.0, text=str(rng.bytes(2000)))]
        write_shard(tmp_path / "in/s.tar", members)
        code = "import sys; from jobs.cli import run; sys.exit(run(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "tokenize", str(tmp_path / "in"), str(disk / "out")]
        done = subprocess.run([*command, *INLINE], capture_output=True, text=True)
        assert done.returncode == 1
        assert "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        left = [p for p in disk.rglob("*") if p.is_file() and p.suffix in (".parquet", ".tmp")]
        assert left == []
        assert not list(disk.rglob("manifests"))


def test_a_read_only_output_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted_tmpfs(tmp_path, "ro") as disk:
        write_shard(tmp_path / "in/s.tar", pairs(1))
        assert tokenize(tmp_path / "in", disk / "out") == 1
        error = capsys.readouterr().err
        assert "read-only" in error
        assert "Traceback" not in error


def test_audio_of_every_kind_in_one_shard(tmp_path: Path) -> None:
    kinds = ("mp3", "flac", "wav", "ogg", "opus")
    write_shard(tmp_path / "in/s.tar", [(f"{k}.{k}", audio(1.0, kind=k)) for k in kinds])
    assert tokenize(tmp_path / "in", tmp_path / "out") == 0
    (part,) = tmp_path.glob("out/tokens/**/*.parquet")
    assert pq.read_table(part)["key"].to_pylist() == list(kinds)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 99, tar_bytes([])])
def test_shards_without_any_clip_are_told_as_such(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = write_shard(tmp_path / "in/a.tar", content)
    assert tokenize(shard, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "The output holds no codes: of the clips of 1 shard there are none" in error
    is_damaged = content != tar_bytes([])
    assert (f"damaged are:\n  {shard}\n" in error) == is_damaged
    assert ("look at `rejects/`" in error) != is_damaged


def test_times_out_of_memory_are_in_the_summary_and_the_event_log(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = iter([True])
    encode = PackedEncoder.forward

    def short_of_memory(encoder: PackedEncoder, *rest: Any) -> Any:
        if next(failures, False):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return encode(encoder, *rest)

    tokenize(corpus / "in", corpus / "out", codec="xy-nano")
    monkeypatch.setattr(PackedEncoder, "forward", short_of_memory)
    capsys.readouterr()
    words = ["tokenize", str(corpus / "in"), str(corpus / "out2"), "--codec", "xy-nano"]
    assert cli.run([*words, "--engine", "inline"]) == 0
    assert "GPU memory ran out (1 x)" in capsys.readouterr().out
    events = list(read_events(Storage(), str(corpus / "out2")))
    assert (events[-1]["times_out_of_memory"], events[-1]["reruns_in_exact"]) == (1, 0)
    assert {e["worker_times_out_of_memory"] for e in events if e["event"] == "shard_done"} == {1}
    assert tree(corpus / "out2") == tree(corpus / "out")


def test_a_tar_without_known_audio_fails_and_its_extensions_are_told(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown: list[Member] = [(f"{n}.g722", b"sound") for n in range(3)]
    write_shard(
        corpus / "in/s1.tar", [*unknown, ("0.json", b"{}"), ("0.lab", b"t"), ("x/README", b"")]
    )
    for _ in range(2):
        assert tokenize(corpus / "in", corpus / "out") == 1
        error = capsys.readouterr().err
        assert "s1.tar` has no audio; its members beside JSON and text are" in error
        assert "3 `.g722`, 1 `.lab`, 1 without extension; expected `.aac`, " in error
    assert len(list(corpus.glob("out/manifests/**/*.json"))) == 2


def test_an_output_without_codes_is_no_success(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (corpus / "in", corpus / "out", "--where", "dnsmos > 9")
    for _ in range(2):
        assert tokenize(*words) == 1
        said = (
            "The output holds no codes: of the clips of 3 shards 0 were rejects and 12 filtered by"
        )
        assert f"{said} `--where 'dnsmos > 9'`" in capsys.readouterr().err
    write_shard(corpus / "in/s9.tar", pair("good", dnsmos=9.5))
    assert tokenize(*words) == 0


def test_a_field_of_the_filter_that_no_clip_has_is_named_before_work(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("tokenize", "plan"):
        words = [verb, str(corpus / "in"), str(corpus / "out"), *INLINE, "--where", "dnsmo > 3"]
        assert cli.run(words) == 2
        said = "none of the first 12 clips of 3 shards has: `dnsmo` (expected `dnsmos`); correct"
        assert said in capsys.readouterr().err
    assert not (corpus / "out").exists()


def test_a_field_that_only_some_clips_have_may_be_filtered_by(corpus: Path) -> None:
    write_shard(corpus / "in/s9.tar", [*pairs(1), *pair("rare", snr={"db": 20})])
    assert tokenize(corpus / "in", corpus / "out", "--where", "snr.db > 10") == 0
    assert tokenize(corpus / "in", corpus / "out2", "--where", "snr.dB != null or dnsmos > 3") == 0


def test_a_field_of_another_type_than_the_filter_has_is_named_before_work(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("tokenize", "plan"):
        words = [verb, str(corpus / "in"), str(corpus / "out"), *INLINE, "--where", "dnsmos > '3'"]
        assert cli.run(words) == 2
        said = "compares `dnsmos` with text, and all 12 values of the first 12 clips of 3 shards"
        assert f"{said} are numbers, such as `3.3`" in capsys.readouterr().err
    assert not (corpus / "out").exists()


def test_clips_of_another_type_than_the_filter_has_are_counted(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(corpus / "in/s9.tar", pair("odd", dnsmos="3,1"))
    words = ("tokenize", corpus / "in", corpus / "out", *INLINE, "--where", "dnsmos > 3")
    assert cli.run(list(map(str, words))) == 0
    assert "filter    1 filtered clip had a value of another type" in capsys.readouterr().out
    manifests = [json.loads(path.read_text()) for path in corpus.glob("out/manifests/**/*.json")]
    assert sorted(each.get("other_type", 0) for each in manifests) == [0, 0, 0, 1]


def test_a_filter_that_kept_clips_before_is_not_blamed(
    corpus: Path,
) -> None:
    words = (corpus / "in", corpus / "out", "--where", 'language == "en"')
    assert tokenize(*words) == 0
    write_shard(corpus / "in/more.tar", pair("other", language="fr"))
    assert tokenize(*words) == 0
