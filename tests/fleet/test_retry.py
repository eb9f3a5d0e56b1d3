"""Rejects that are read again become codes beside the run's own, once, for every reader."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.corpus.rules import RuleChanges
from pipeline.errors import ChangedError, IdentityError, UsageError
from pipeline.export.export import run_export
from pipeline.export.exporter import ExportRequest
from pipeline.export.selection import Selection
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.retry import retry_request
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.inspect.card import make_card
from pipeline.inspect.clips_table import write_clips
from pipeline.inspect.drop import drop_clips
from pipeline.inspect.show import find_row, read_original
from pipeline.inspect.status import read_status
from pipeline.inspect.verify import verify_output
from pipeline.read.dataset import open_dataset
from pipeline.read.row_filter import shard_of
from pipeline.storage.client import Storage, StoredFile
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.export_run import files_in
from tests.support.shard_maker import Member, audio, pair, write_shard

STORAGE = Storage()
FAKE = CodecRequest("fake")


def members(prefix: str) -> list[Member]:
    """A short clip, one of two seconds, one of four, and no audio."""
    return [
        *pair(f"{prefix}-short", 0.5),
        *pair(f"{prefix}-two", 2.0, speaker="S2"),
        *pair(f"{prefix}-four", 4.0),
        (f"{prefix}-bad.mp3", b"not audio"),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards; clips above a second are rejects. The last one has none."""
    folder = tmp_path_factory.mktemp("retry")
    for name in "ab":
        write_shard(folder / f"in/{name}.tar", members(name))
    write_shard(folder / "in/c.tar", pair("c-short", 0.5))
    words = ["tokenize", str(folder / "in"), str(folder / "out"), "--codec", "fake", "--quiet"]
    assert (
        cli.run([*words, "--engine", "inline", "--max-clip-seconds", "1", "--max-reject-rate", "1"])
        == 0
    )
    return folder


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    """A copy of the output; the shards stay where they are."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


def planned(output: Path, *reasons: str, **changes: Any) -> RunRequest | None:
    rules = RuleChanges(**changes)
    return retry_request(str(output), reasons, FAKE, rules, STORAGE, Tuning(1), quiet=True)


def retried(output: Path, *reasons: str, **changes: Any) -> int:
    request = planned(output, *reasons, **changes)
    assert request is not None
    return run_tokenize(request, InlineEngine(FAKE)).codes


def keys_read(output: Path, **options: Any) -> list[str]:
    return [clip.key for clip in open_dataset(output, **options)]


def test_only_the_rejects_asked_for_are_read_and_every_reader_has_them_last(
    output: Path, tmp_path: Path
) -> None:
    own = keys_read(output)
    before = files_in(output)
    assert retried(output, "too_long", max_clip_seconds=3) == 2
    assert {name: before[name] for name in before if "events" not in name} == {
        name: content
        for name, content in files_in(output).items()
        if name in before and "events" not in name
    }
    assert keys_read(output) == [*own, "a-two", "b-two"]
    assert sorted(keys_read(output, shuffle_buffer=8)) == sorted([*own, "a-two", "b-two"])
    assert keys_read(output, where="speaker == 'S2'") == ["a-two", "b-two"]
    destination = tmp_path / "exported"
    record = run_export(ExportRequest(str(output), str(destination), "parts", STORAGE))
    (file,) = destination.rglob("*.parquet")
    assert pq.read_table(file)["key"].to_pylist() == [*own, "a-two", "b-two"]
    assert record.clips == len(own) + 2
    assert write_clips(STORAGE, str(output)).clips == len(own) + 2
    # Shard c had no reject: nobody read it again.
    assert not list(output.glob("retries/1/tokens/**/c.parquet"))


def test_what_failed_again_can_be_retried_and_what_did_not_is_left_alone(output: Path) -> None:
    assert retried(output, "too_long", max_clip_seconds=3) == 2
    assert retried(output, "too_long", max_clip_seconds=10) == 2
    assert sorted(path.name for path in (output / "retries").iterdir()) == ["1", "2"]
    keys = keys_read(output)
    assert len(keys) == len(set(keys)) == 7
    assert planned(output, "too_long", max_clip_seconds=20) is None
    assert cli.run(["retry", str(output), "--reason", "too_long"]) == 0


def test_a_clip_that_has_codes_is_not_read_again_for_text_that_has_its_key(tmp_path: Path) -> None:
    sound = audio(0.5)
    named = [("take.1.mp3", sound), ("take.1.json", b"{}"), ("take.2.json", b"{}")]
    write_shard(tmp_path / "in/a.tar", [*named, ("other.json", b"{}")])
    words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake", "--quiet"]
    assert cli.run([*words, "--engine", "inline", "--max-reject-rate", "1"]) == 0
    output = tmp_path / "out"
    assert read_status(str(output), STORAGE).rejects == {"missing_audio": 2}
    assert retried(output, "missing_audio") == 0
    assert keys_read(output) == ["take"]


def test_a_retry_that_was_interrupted_is_gone_on_with(output: Path) -> None:
    request = planned(output, "too_long", max_clip_seconds=10)
    assert request is not None
    assert request.shards is not None
    first = RunRequest(
        *(request.inputs, request.output, request.rules, STORAGE, request.tuning),
        quiet=True,
        codec=FAKE,
        shards=request.shards[:1],
    )
    assert run_tokenize(first, InlineEngine(FAKE)).codes == 2
    kept = files_in(output / "retries/1/tokens")
    with pytest.raises(IdentityError, match="max_clip_seconds"):
        retried(output, "too_long", max_clip_seconds=3)
    assert retried(output, "too_long", max_clip_seconds=10) == 2
    assert [path.name for path in (output / "retries").iterdir()] == ["1"]
    assert files_in(output / "retries/1/tokens").items() >= kept.items()
    assert len(keys_read(output)) == 7


def test_the_tools_count_them(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["retry", str(output), "--reason", "too_long,undecodable", "--max-clip-seconds", "3"]
    assert cli.run([*words, "--engine", "inline", "--quiet"]) == 0
    assert "retried   2 rejects became codes, in " in capsys.readouterr().out
    status = read_status(str(output), STORAGE)
    assert (status.done, status.left, status.codes, status.retried) == (3, 0, 3, 2)
    assert "retried   2 of these rejects have codes" in "\n".join(status.lines())
    found = find_row(str(output), "a-two", STORAGE)
    assert not found.is_reject
    original = dict(members("a"))["a-two.mp3"]
    assert read_original(str(output), found, STORAGE) == original
    # The later reason counts.
    assert find_row(str(output), "a-four", STORAGE).row["reason"] == "too_long"
    assert "retries/1" in find_row(str(output), "a-four", STORAGE).part
    card = make_card(str(output), STORAGE, licence="other", title="Codes")
    assert "5 clips" in card
    assert "rejects: 4;" in card
    assert "retries/*/tokens/**/*.parquet" in card
    drop_clips(str(output), ["b-two"], "music", STORAGE)
    assert "b-two" not in keys_read(output)
    verified = verify_output(str(output), STORAGE)
    assert verified.is_clean
    assert verified.checked == 5
    part = next((output / "retries/1/tokens").rglob("a.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    (fault,) = verify_output(str(output), STORAGE).faults
    assert fault.path == f"retries/1/tokens/{part.relative_to(output / 'retries/1/tokens')}"


def test_verify_lists_once_and_names_a_replaced_source_once(
    made: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retried(output, "too_long", max_clip_seconds=3) == 2
    listed: list[str] = []
    list_files = Storage.list_files

    def noted(storage: Storage, folder: str) -> list[StoredFile]:
        listed.append(folder)
        return list_files(storage, folder)

    monkeypatch.setattr(Storage, "list_files", noted)
    source = made / "in/a.tar"
    moved = source.rename(made / "moved")
    try:
        (fault,) = verify_output(str(output), STORAGE).faults
    finally:
        moved.rename(source)
    assert fault.path == str(source)
    assert listed.count(str(output)) == 1
    assert str(output / "retries/1") not in listed


def test_an_audit_takes_a_retry_as_an_output_of_its_own(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retried(output, "too_long", max_clip_seconds=10) == 4
    words = ["audit", str(output / "retries/1"), "--codes-only", "--metrics", "stoi"]
    cli.run([*words, "--processes", "0", "--quiet"])
    told = capsys.readouterr().out
    assert "Stored against fresh codes: 2 shards equal." in told
    assert "4 clips sampled, 4 rows checked" in told


def test_a_keep_list_of_the_run_does_not_speak_of_retries(output: Path, tmp_path: Path) -> None:
    assert retried(output, "too_long", max_clip_seconds=10) == 4
    with pq.ParquetFile(next((output / "tokens").rglob("a.parquet"))) as part:
        shard = shard_of(part, "a.parquet")
    table = {"shard": [shard], "row": [0], "key": ["a-short"], "keep": [True]}
    pq.write_table(pa.table(table), tmp_path / "keep.parquet")
    assert keys_read(output, keep=tmp_path / "keep.parquet") == ["a-short"]
    selection = Selection(keep=str(tmp_path / "keep.parquet"))
    destination = str(tmp_path / "exported")
    request = ExportRequest(str(output), destination, "parts", STORAGE, selection)
    record = run_export(request)
    assert (record.clips, record.left_out) == (1, {"not_in_keep_list": 6})


def test_what_cannot_be_retried_is_said(output: Path, made: Path) -> None:
    with pytest.raises(UsageError, match=r"`--reason to_long` cannot be retried; .*too_long"):
        planned(output, "to_long")
    with pytest.raises(UsageError, match="duplicate_key"):
        planned(output, "duplicate_key")
    assert planned(output, "non_finite") is None
    with pytest.raises(IdentityError, match="checkpoint_sha256"):
        run_other(output)
    tar, aside = made / "in/a.tar", made / "in/aside"
    tar.rename(aside)
    try:
        with pytest.raises(ChangedError, match=r"1 shard with rejects .*\n.*a\.tar` is gone"):
            planned(output, "too_long")
    finally:
        aside.rename(tar)


def run_other(output: Path) -> None:
    request = planned(output, "too_long", max_clip_seconds=10)
    assert request is not None
    run_tokenize(request, InlineEngine(CodecRequest("fake-odd")))


def test_codes_of_a_shard_that_was_replaced_since_are_left_out_until_it_is_retried_again(
    tmp_path: Path,
) -> None:
    output, tar = tmp_path / "out", tmp_path / "in/a.tar"
    write_shard(tar, members("a"))
    words = ["tokenize", str(tmp_path / "in"), str(output), "--codec", "fake", "--quiet"]
    words += ["--engine", "inline", "--max-clip-seconds", "1", "--max-reject-rate", "1"]
    assert cli.run(words) == 0
    assert retried(output, "too_long", max_clip_seconds=10) == 2
    assert keys_read(output) == ["a-short", "a-two", "a-four"]
    # One clip is short now, one is gone, one came.
    tar.unlink()
    write_shard(tar, [*pair("a-short", 0.5), *pair("a-two", 0.6), *pair("a-new", 3.0)])
    assert cli.run([*words, "--redo-changed"]) == 0
    assert keys_read(output) == ["a-short", "a-two"]
    assert read_status(str(output), STORAGE).retried == 0
    verified = verify_output(str(output), STORAGE, clean=True)
    assert (verified.faults, len(verified.removed)) == ((), 3)
    assert retried(output, "too_long", max_clip_seconds=10) == 1
    assert keys_read(output) == ["a-short", "a-two", "a-new"]
    assert verify_output(str(output), STORAGE).is_clean
    with pytest.raises(UsageError, match="is itself a retry of rejects"):
        planned(output / "retries/1", "too_long")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-member-bytes", "foo"), "`--max-member-bytes foo`; expected"),
        (("--max-clip-seconds", "-3"), "`--max-clip-seconds -3`; expected more than 0"),
        (("--cluster", "auto"), "`--engine inline` cannot use `--cluster`"),
    ],
)
def test_wrong_and_ignored_options_are_refused(
    flags: tuple[str, ...], message: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["retry", str(output), "--reason", "too_long", "--engine", "inline"]
    assert cli.run([*words, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (output / "retries").exists()
