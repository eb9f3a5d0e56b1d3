"""Status, verify, show and card tell from the output folder alone what is in it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath

import pytest

from jobs import cli
from pipeline.corpus.listing import list_shards
from pipeline.corpus.tar_reader import Hole
from pipeline.errors import LeaseError, UsageError
from pipeline.fleet import lease
from pipeline.fleet.lease import hold_lease
from pipeline.inspect import verify
from pipeline.inspect.damage import Damage
from pipeline.inspect.show import find_row, read_original
from pipeline.inspect.status import read_status
from pipeline.inspect.verify import verify_output
from pipeline.output.index import INDEX
from pipeline.storage.client import Storage
from tests.support.shard_maker import pair, pairs, tar_bytes, write_shard

STORAGE = Storage()
# A command line that is killed at the moment at which a file would get its final name.
KILLED = """
import os, signal, sys
from pathlib import Path
from jobs.cli import run
owner, _, name = sys.argv[1].partition(".")
place = {"os": os, "Path": Path}[owner]
real = getattr(place, name)


def die(path, *rest):
    if "/events/" in str(path):  # of a thread of its own
        return real(path, *rest)
    os.kill(os.getpid(), signal.SIGKILL)


setattr(place, name, die)
run(sys.argv[2:])
"""


def tokenize(folder: Path, *more: str) -> int:
    inputs, output = str(folder / "in"), str(folder / "out")
    words = ["tokenize", inputs, output, "--codec", "fake", "--engine", "inline", "--quiet"]
    return cli.run([*words, *more])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_shard(tmp_path / "in" / "a.tar", [*pairs(3), ("bad.mp3", b"not audio")])
    write_shard(tmp_path / "in" / "b.tar", pair("one", 2.0, language="fr", speaker="F1"))
    assert tokenize(tmp_path) == 0
    return tmp_path / "out"


def test_status_counts_shards_clips_and_rejects(output: Path) -> None:
    status = read_status(str(output), STORAGE)
    assert (status.done, status.left, status.codes) == (2, 0, 4)
    assert status.rejects == {"undecodable": 1}
    assert "rejects   1 undecodable: libsndfile does not take it as audio" in status.lines()
    assert cli.run(["status", str(output)]) == 0


def test_status_names_the_process_that_works_in_an_output(output: Path) -> None:
    assert read_status(str(output), STORAGE).held_by is None
    with hold_lease(STORAGE, str(output), wait=False):
        status = read_status(str(output), STORAGE)
    assert f"at work   process {os.getpid()} on `" in "\n".join(status.lines())
    assert read_status(str(output), STORAGE).held_by is None


def test_status_of_an_interrupted_run_says_what_is_left(output: Path) -> None:
    log = next((output / "events").iterdir())
    lines = log.read_text().splitlines()
    log.write_text("\n".join(line for line in lines if "b.tar" not in line) + '\n{"half')
    next((output / "manifests").rglob("b.*.json")).unlink()
    assert read_status(str(output), STORAGE).left == 1
    assert cli.run(["status", str(output)]) == 1


def test_status_counts_shards_that_were_finished_after_their_driver_had_stopped(
    output: Path,
) -> None:
    log = next((output / "events").iterdir())
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"shard_done"' not in line))
    status = read_status(str(output), STORAGE)
    assert (status.done, status.left) == (2, 0)
    assert cli.run(["status", str(output)]) == 0


def test_status_counts_only_what_the_last_command_did(output: Path, tmp_path: Path) -> None:
    for name in "cd":
        write_shard(tmp_path / "in" / f"{name}.tar", pairs(1))
    assert tokenize(tmp_path) == 0
    next((output / "manifests").rglob("c.*.json")).unlink()
    status = read_status(str(output), STORAGE)
    assert (status.done, status.left) == (3, 1)


def test_a_shard_with_a_line_break_in_its_name_is_done_like_others(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "new\nline.tar", pairs(2))
    assert tokenize(tmp_path) == 0
    assert read_status(str(tmp_path / "out"), STORAGE).done == 1
    assert cli.run(["verify", str(tmp_path / "out")]) == 0


def test_a_root_above_no_shard_is_refused_and_its_spelling_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "in" / "EN" / "a.tar", pairs(1))
    for inputs, root in (
        (f"{tmp_path}/in", f"{tmp_path}/in/"),
        (f"{tmp_path}/in", f"{tmp_path}/./in"),
        ("in", "./in"),
        ("./in", "in"),
    ):
        monkeypatch.chdir(tmp_path)
        assert [shard.path for shard in list_shards([inputs], STORAGE, root)] == ["EN/a.tar"]
    with pytest.raises(UsageError, match=r"`--root nowhere` is above none of 1 shard"):
        list_shards(["in"], STORAGE, "nowhere")


def test_fewer_decode_threads_than_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(1))
    assert tokenize(tmp_path, "--decode-threads", "-1", "--max-clip-seconds", "nan") == 2
    err = capsys.readouterr().err
    assert "`--decode-threads -1`" in err
    assert "`--max-clip-seconds nan`" in err


def test_status_is_json_on_request(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    cli.run(["status", str(output), "--json"])
    assert json.loads(capsys.readouterr().out)["codes"] == 4


def test_a_whole_output_verifies(output: Path) -> None:
    assert verify_output(str(output), STORAGE).is_clean
    assert cli.run(["verify", str(output)]) == 0


def test_verify_tells_of_holes_and_about_how_many_clips_they_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise over two of eight clips, a tar without its end, and a row group of two rows."""
    whole = tar_bytes(pairs(8))
    two = len(whole) // 4
    inputs, output = tmp_path / "in", tmp_path / "out"
    write_shard(inputs / "hole.tar", whole[:two] + b"\xa5" * two + whole[2 * two :])
    write_shard(inputs / "end.tar", whole[:two])
    write_shard(inputs / "whole.tar", whole)
    words = ["tokenize", f"{inputs}/*.tar", str(output), "--codec", "fake", "--engine", "inline"]
    assert cli.run([*words, "--quiet"]) == 3
    for quick in (False, True):
        found = verify_output(str(output), STORAGE, quick=quick, quiet=True)
        assert found.is_clean
        end, hole = found.damaged
        assert (end.url, end.missing_clips) == (f"{inputs}/end.tar", None)
        assert hole.url == f"{inputs}/hole.tar"
        assert hole.missing_clips in (2, 3)
    assert cli.run(["verify", str(output), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "0 faults, 0 leftovers, 0 removed, 2 damaged sources" in said
    assert f"damaged   {inputs}/hole.tar: 1 hole, about {hole.missing_clips} clips may be" in said
    assert f"damaged   {inputs}/end.tar: 1 hole, nothing tells how many clips are missing" in said
    assert "replace these sources and pass `--redo-changed`" in said


@pytest.mark.parametrize(
    ("shard", "holes", "told"),
    [
        ("a.parquet", [Hole(0, 2, "rows"), Hole(6, 1, "rows")], "2 holes, about 3 clips may be"),
        ("a.tar", [Hole(0, 100, "garbage")], "1 hole, about 1 clip may be missing"),
        ("a.tar", [Hole(0, 500, "garbage")], "1 hole, about 8 clips may be missing"),
        ("a.tar", [Hole(0, 500, "checksum")], "1 hole, no clip is missing, but some may be wrong"),
        ("a.tar", [Hole(900, 100, "cut")], "nothing tells how many clips are missing"),
        ("a.tar.gz", [Hole(0, 100, "garbage")], "nothing tells how many clips are missing"),
    ],
)
def test_holes_are_told_by_the_clips_that_they_may_have_cost(
    shard: str, holes: list[Hole], told: str
) -> None:
    damage = Damage.of(shard, shard, holes, 1000, 8, limited=False)
    assert told in str(damage)


@pytest.mark.parametrize("folder", ["tokens", "rejects"])
def test_one_changed_byte_is_found(output: Path, folder: str) -> None:
    path = next((output / folder).rglob("a.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (fault,) = verify_output(str(output), STORAGE).faults
    assert fault.path.startswith(folder)
    assert cli.run(["verify", str(output)]) == 1


@pytest.mark.parametrize("with_index", [True, False])
def test_a_quick_check_finds_lost_files_and_wrong_sizes_without_reading_one(
    output: Path, with_index: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not with_index:
        (output / INDEX).unlink()
    words = ["verify", str(output), "--quick", "--quiet"]
    assert cli.run(words) == 0
    part, reject = (next((output / folder).rglob("*.parquet")) for folder in ("tokens", "rejects"))
    size = part.stat().st_size
    part.write_bytes(b"1" * size)  # of the right size: only `verify` alone finds it
    assert cli.run(words) == 0
    part.write_bytes(b"1234")
    reject.unlink()
    (output / "tokens/orphan.parquet").write_bytes(b"half")
    capsys.readouterr()
    assert cli.run(words) == 1
    assert capsys.readouterr().out.splitlines() == [
        "checked   2 shards, 2 faults, 1 leftover, 0 removed",
        f"fault     {part.relative_to(output)}: has 4 bytes, not {size}",
        f"fault     {reject.relative_to(output)}: is missing",
        "leftover  tokens/orphan.parquet",
        "to do     delete the manifest of each faulty shard (`manifests/…` of the same name) and "
        "run the same command again: it makes these shards anew",
    ]


def test_a_missing_part_and_a_replaced_source_are_found(output: Path, tmp_path: Path) -> None:
    next((output / "tokens").rglob("a.parquet")).unlink()
    write_shard(tmp_path / "in" / "b.tar", pairs(2))
    problems = [fault.problem for fault in verify_output(str(output), STORAGE).faults]
    assert problems[0] == "is missing"
    assert "was replaced" in problems[1]


def test_a_broken_manifest_is_a_fault_of_one_shard_and_what_verify_says_mends_it(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = next((output / "manifests").rglob("a.*.json"))
    manifest.write_text('{"codes": ')
    next((output / "rejects").rglob("b.parquet")).unlink()
    assert cli.run(["verify", str(output), "--clean"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "checked   2 shards, 2 faults, 0 leftovers, 0 removed"
    assert f"{manifest.name}` cannot be read" in told[1]
    for shard in "ab":
        next((output / "manifests").rglob(f"{shard}.*.json")).unlink()
    assert tokenize(tmp_path) == 0
    assert cli.run(["verify", str(output)]) == 0


def test_clean_removes_leftovers_and_nothing_else(output: Path) -> None:
    for name in ("notes.tmp", ".notes.tmp", "in/sorted.1f2e3d4c.tmp"):
        write_shard(output / name, b"the user's own")
    before = {path for path in output.rglob("*") if path.is_file()}
    orphan = output / "tokens" / "orphan.parquet"
    orphan.write_bytes(b"half")
    found = verify_output(str(output), STORAGE)
    assert found.leftovers == ("tokens/orphan.parquet",)
    assert not found.is_clean
    assert verify_output(str(output), STORAGE, clean=True).is_clean
    after = {path for path in output.rglob("*") if path.is_file()}
    assert {path for path in before ^ after if path.parent.name != "lease"} == set()


def test_clean_takes_no_part_from_a_run_that_is_about_to_write_its_manifest(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = next((output / "manifests").rglob("a.*.json"))
    content = manifest.read_bytes()
    manifest.unlink()
    part = next((output / "tokens").rglob("a.parquet"))
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)
    with (
        hold_lease(STORAGE, str(output), wait=False),
        pytest.raises(LeaseError, match="is in work by process"),
    ):
        verify_output(str(output), STORAGE, clean=True)
    assert part.exists()

    def end_of_run(*_: object, **__: object) -> AbstractContextManager[None]:
        manifest.write_bytes(content)
        return nullcontext()

    # The run ends while `verify` waits for it.
    monkeypatch.setattr(verify, "hold_lease", end_of_run)
    assert verify_output(str(output), STORAGE, clean=True).removed == ()
    assert verify_output(str(output), STORAGE).is_clean


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("Path.replace", "in/.a.parquet.*.tmp"),
        ("os.link", "lease/.1.json.*.tmp"),
    ],
)
def test_what_a_killed_writer_left_is_listed_and_removed(
    tmp_path: Path, moment: str, left: str
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(3))
    words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake"]
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, *words, "--engine", "inline"])
    assert killed.returncode == -signal.SIGKILL
    assert tokenize(tmp_path) == 0
    (leftover,) = find_leftovers(tmp_path / "out")
    assert PurePath(leftover).match(left)
    assert cli.run(["verify", str(tmp_path / "out")]) == 1
    assert cli.run(["verify", str(tmp_path / "out"), "--clean"]) == 0
    assert not find_leftovers(tmp_path / "out")
    assert cli.run(["verify", str(tmp_path / "out")]) == 0


def find_leftovers(output: Path) -> list[str]:
    found = [str(path.relative_to(output)) for path in output.rglob("*.tmp")]
    assert verify_output(str(output), STORAGE).leftovers == tuple(found)
    return found


def test_show_finds_the_row_and_its_source_bytes(output: Path) -> None:
    found = find_row(str(output), "clip0001", STORAGE)
    assert found.row["text"] == " Text of clip0001."
    original = dict(pairs(3))["clip0001.mp3"]
    assert read_original(str(output), found, STORAGE) == original


def test_show_tells_why_a_clip_is_a_reject(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["show", str(output), "bad"]
    assert cli.run([*words, "--original", str(tmp_path / "bad.mp3")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stage"], told["reason"]) == ("decode", "undecodable")
    assert told["detail"].startswith("not audio that libsndfile knows")
    assert told["shard"].endswith("a.tar")
    assert told["tar_offset"] > 0
    assert (tmp_path / "bad.mp3").read_bytes() == b"not audio"
    assert cli.run([*words, "--wav", str(tmp_path / "bad.wav")]) == 1
    assert "`bad` is a reject (undecodable), which has no codes" in capsys.readouterr().err


def test_show_reads_no_part_whose_keys_exclude_the_clip(
    output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (part,) = (output / "tokens").rglob("b.parquet")  # its only key is `one`
    part.write_bytes(b"PAR1 and rubbish")
    assert find_row(str(output), "clip0001", STORAGE).row["key"] == "clip0001"
    assert not caplog.text
    with pytest.raises(UsageError):
        find_row(str(output), "one", STORAGE)
    assert "was not searched" in caplog.text


def test_show_finds_a_row_beside_a_part_that_cannot_be_read(
    output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_shard(output.parent / "in" / "c.tar", [*pair("a"), *pair("z")])
    assert tokenize(output.parent) == 0
    (part,) = (output / "tokens").rglob("c.parquet")
    part.write_bytes(b"PAR1 and rubbish")
    assert find_row(str(output), "clip0001", STORAGE).row["key"] == "clip0001"
    assert "was not searched" in caplog.text


def test_show_writes_original_and_decoded_audio(output: Path, tmp_path: Path) -> None:
    wav, original = tmp_path / "x.wav", tmp_path / "x"
    words = ["show", str(output), "one", "--codec", "fake"]
    assert cli.run([*words, "--wav", str(wav), "--original", str(original)]) == 0
    assert wav.stat().st_size > 16000 * 2
    assert (tmp_path / "x.mp3").read_bytes() == dict(pair("one", 2.0))["one.mp3"]


def test_show_names_a_wav_that_cannot_be_written(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav = tmp_path / "nowhere" / "x.wav"
    assert cli.run(["show", str(output), "one", "--codec", "fake", "--wav", str(wav)]) == 2
    assert f"xytok show: `{wav}` cannot be written (" in capsys.readouterr().err


def test_show_refuses_to_decode_with_another_codec(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["show", str(output), "one", "--wav", str(tmp_path / "x.wav")]
    assert cli.run([*words, "--codec", "xy-nano"]) == 2
    assert "made with `fake`" in capsys.readouterr().err
    # Without one it is the codec of the run.
    assert cli.run(words) == 0
    assert (tmp_path / "x.wav").stat().st_size > 1000


def test_an_unknown_key_is_named(output: Path) -> None:
    with pytest.raises(UsageError, match="No row has the key `nobody`"):
        find_row(str(output), "nobody", STORAGE)


def test_a_key_in_two_shards_asks_for_the_shard(output: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "c.tar", pair("one"))
    assert tokenize(tmp_path) == 0
    with pytest.raises(UsageError, match="2 rows have the key"):
        find_row(str(output), "one", STORAGE)
    assert find_row(str(output), "one", STORAGE, shard="b.parquet").row["speaker"] == "F1"


def test_card_names_hours_languages_codec_and_columns(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli.run(["card", str(output), "--licence", "cc-by-4.0", "--title", "Tiny"]) == 0
    card = capsys.readouterr().out
    for line in ("license: cc-by-4.0", "# Tiny", "- fr", "| en | 3 |", "| `codes` |", "n<1K"):
        assert line in card
