"""The same command again: nothing is started for nothing, and the exit code is that of the run."""

import json
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from jobs import cli
from pipeline.corpus.rules import ReadRules
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.output.index import INDEX, read_shards
from pipeline.output.manifest import list_manifests, read_named_manifests
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_server import S3Server
from tests.support.shard_maker import Member, pairs, tar_bytes, write_shard

# Runs a command line, then tells which heavy packages it had to import.
PROBE = """
import sys
from jobs.cli import run
code = run(sys.argv[1:])
print([name for name in ("torch", "ray", "transformers") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def tokenize(folder: Path, *more: str, codec: str = "fake") -> int:
    words = ["tokenize", str(folder / "in"), str(folder / "out"), "--codec", codec]
    return cli.run([*words, "--engine", "inline", "--decode-threads", "1", "--quiet", *more])


def again(folder: Path, *more: str, codec: str = "fake") -> subprocess.CompletedProcess[str]:
    words = ["tokenize", str(folder / "in"), str(folder / "out"), "--codec", codec, *more]
    return subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True)


def damage(tar: Path) -> None:
    whole = tar_bytes(pairs(4))
    write_shard(tar, whole[: len(whole) // 2])


@pytest.fixture(scope="module")
def done_by_nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small shard, tokenized by a codec that takes time to load."""
    folder = tmp_path_factory.mktemp("nano")
    write_shard(folder / "in/s0.tar", pairs(2))
    assert tokenize(folder, codec="xy-nano") == 0
    return folder


def test_a_rerun_with_nothing_left_starts_neither_ray_nor_a_codec(done_by_nano: Path) -> None:
    started = time.perf_counter()
    done = again(done_by_nano, codec="xy-nano")
    assert time.perf_counter() - started < 30  # below one second on an idle machine
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")
    assert done.stdout == "shards    nothing is left: 1 shard was done before, 0 damaged\n"


def test_a_rerun_exits_like_the_run_that_met_the_damage(corpus: Path) -> None:
    damage(corpus / "in/s1.tar")
    assert tokenize(corpus) == 3
    done = again(corpus)
    assert done.returncode == 3
    assert "s1.tar: 1 hole" in done.stderr
    assert "nothing is left: 3 shards were done before, 1 damaged" in done.stdout
    assert again(corpus, "--allow-damaged").returncode == 0


def test_without_an_index_manifests_tell_the_damage(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(corpus / "in/s1.tar")
    assert tokenize(corpus) == 3
    (corpus / "out" / INDEX).unlink()
    capsys.readouterr()
    assert tokenize(corpus) == 3
    assert "s1.tar: 1 hole" in capsys.readouterr().err


def test_a_damaged_shard_that_was_replaced_and_redone_is_forgotten(corpus: Path) -> None:
    damage(corpus / "in/s1.tar")
    assert tokenize(corpus) == 3
    write_shard(corpus / "in/s1.tar", pairs(4))
    assert tokenize(corpus, "--redo-changed") == 0
    assert tokenize(corpus) == 0


def test_earlier_damage_counts_when_more_is_done(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(corpus / "in/s1.tar")
    assert tokenize(corpus) == 3
    write_shard(corpus / "in/s9.tar", pairs(2, prefix="s9-"))
    capsys.readouterr()
    assert tokenize(corpus) == 3
    assert "s1.tar: 1 hole" in capsys.readouterr().err


def test_the_index_knows_the_part_of_a_shard_that_another_version_did_again(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokenize(corpus) == 0
    output = str(corpus / "out")
    storage = Storage()
    old = list_manifests(storage, output)
    (corpus / "out" / old[0].path).unlink()
    # A version of as many letters, so that part and manifest keep their sizes.
    monkeypatch.setattr(metadata, "version", lambda _: "9.9.9")
    assert tokenize(corpus) == 0
    assert [name.size_bytes for name in list_manifests(storage, output)] == [
        name.size_bytes for name in old
    ]
    (part,) = (each.part for each in read_named_manifests(storage, output, old[:1]))
    shown = [
        row["part_sha256"]
        for table in read_shards(storage, output, old[:1], ["part_sha256"])
        for row in table.to_pylist()
    ]
    assert shown == [part.sha256]


def test_a_shard_that_failed_is_tried_again_until_it_is_done(corpus: Path) -> None:
    lost = corpus / "in/s9.tar"
    lost.symlink_to(corpus / "nothing.tar")
    assert [tokenize(corpus), tokenize(corpus)] == [1, 1]
    lost.unlink()
    write_shard(lost, pairs(2, prefix="s9-"))
    assert [tokenize(corpus), tokenize(corpus)] == [0, 0]
    assert len(list(corpus.glob("out/manifests/**/*.json"))) == 4


def test_a_run_that_finished_nothing_binds_no_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = write_shard(tmp_path / "in/s0.tar", [("a.dat", b"no audio")])
    assert tokenize(tmp_path, "--limit", "2") == 1
    write_shard(tar, pairs(4))
    plan = ["plan", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake"]
    assert cli.run([*plan, "--limit", "3"]) == 0
    capsys.readouterr()
    assert tokenize(tmp_path, "--limit", "3") == 0
    assert "had other settings and finished no shard" in capsys.readouterr().err
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["identity"]["limit"] == 3
    assert tokenize(tmp_path, "--limit", "2") == 2
    assert cli.run([*plan, "--limit", "2"]) == 2


def test_rejects_of_earlier_runs_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    garbage: list[Member] = [(f"g{n}.mp3", b"garbage") for n in range(250)]
    write_shard(tmp_path / "in/s.tar", [*pairs(2), *garbage])
    assert tokenize(tmp_path) == 1
    capsys.readouterr()
    assert tokenize(tmp_path) == 1
    assert "99.2%" in capsys.readouterr().err
    assert tokenize(tmp_path, "--max-reject-rate", "1") == 0


def test_another_checkpoint_is_refused_without_loading_it(corpus: Path) -> None:
    assert tokenize(corpus) == 0
    done = again(corpus, codec="xy-nano")
    assert done.returncode == 2
    assert f"codec.checkpoint_sha256: output has `{'0' * 64}`, this run has `" in done.stderr
    assert done.stderr.endswith("[]\n")


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--precision", "fast", "codec.precision: output has `exact`, this run has `fast`"),
        ("--codec-option", "overlap_seconds=5", "codec.options.overlap_seconds: output has `10.0`"),
    ],
)
def test_another_precision_or_overlap_is_refused_before_a_codec_is_loaded(
    done_by_nano: Path, tmp_path: Path, flag: str, value: str, shown: str
) -> None:
    corpus = shutil.copytree(done_by_nano, tmp_path / "corpus")
    write_shard(corpus / "in/more.tar", pairs(1))
    done = again(corpus, flag, value, codec="xy-nano")
    assert done.returncode == 2
    assert shown in done.stderr
    assert done.stderr.endswith("[]\n")
    assert not list(corpus.glob("out/manifests/**/more.*"))


def test_a_secret_in_the_codec_url_is_refused_before_anything_is_written(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(corpus, codec="s3://key:hush@bucket/codec") == 2
    assert "hush" not in capsys.readouterr().err
    assert not (corpus / "out").exists()


def test_a_rerun_on_s3_lists_manifests_once_and_reads_none(s3: S3Server, corpus: Path) -> None:
    with fault_proxy(s3.url) as proxy:
        storage = Storage({"s3": s3.storage_options(proxy.url)})
        fs = storage.filesystem("s3://rerun")[0]
        fs.mkdir("rerun")
        fs.put(f"{corpus / 'in'}/", "rerun/in/", recursive=True)
        request = RunRequest(
            ("s3://rerun/in/*.tar",), "s3://rerun/out", ReadRules(), storage, Tuning(1),
            quiet=True, codec=CodecRequest("fake"),
        )  # fmt: skip
        assert run_tokenize(request, InlineEngine(CodecRequest("fake"))).done == 3
        proxy.faults.seen.clear()
        assert run_tokenize(request, InlineEngine(CodecRequest("fake"))).shards_skipped == 3
        paths = [f"{method} {path}" for method, path, _ in proxy.faults.seen]
    assert sum("prefix=out%2Fmanifests" in path for path in paths) == 1
    assert not [path for path in paths if "/rerun/out/manifests/" in path]
