"""Clips that are dropped are missed by every reader, and come back when the drop is undone."""

import shutil
from pathlib import Path

import pytest

from jobs import cli
from pipeline.errors import IdentityError, OutputError, UsageError
from pipeline.inspect.card import make_card
from pipeline.inspect.drop import drop_clips, read_keys, undo_drop
from pipeline.inspect.show import find_row
from pipeline.inspect.status import read_status
from pipeline.inspect.verify import verify_output
from pipeline.output.dropped import read_dropped
from pipeline.read.dataset import CodesDataset, Position, open_dataset
from pipeline.storage.client import Storage
from tests.support.export_run import export, files_in, make_export_run, rows_of
from tests.support.s3_server import S3Server

STORAGE = Storage()
BAD = ["EN_a_0001", "EN_a_0003", "FR_c_0000"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def keys_read(dataset: CodesDataset) -> list[str]:
    return [row.key for row in dataset]


def test_readers_and_exports_miss_what_is_dropped_and_parts_stay_as_they_are(
    run: Path, tmp_path: Path
) -> None:
    before, parts = keys_read(open_dataset(run)), files_in(run / "tokens")
    result = drop_clips(str(run), BAD, "two speakers", STORAGE)
    assert (result.path, result.num_clips) == ("dropped/000001.parquet", 3)
    left = [key for key in before if key not in BAD]
    assert len(left) == len(before) - 3
    assert keys_read(open_dataset(run)) == left
    assert files_in(run / "tokens") == parts
    shuffled = keys_read(open_dataset(run, shuffle_buffer=64, batch_frames=64))
    assert sorted(shuffled) == sorted(left)
    fitting = [key for key in left if key.startswith("EN")]
    assert keys_read(open_dataset(run, where="language == 'en'")) == fitting
    record = export(run, tmp_path / "out", "jsonl")
    assert record.left_out == {"dropped": 3, "no_text": 3}
    assert record.splits["train"].clips == len(left) - 3
    # Without manifests, as a hub has it, the lists count all the same.
    shutil.rmtree(run / "manifests")
    assert sorted(keys_read(open_dataset(run))) == sorted(left)


def test_a_position_from_before_the_drop_is_refused(run: Path) -> None:
    position = Position()
    steps = open_dataset(run).stream(position=position)
    step = next(steps)
    position.see([step.window], [step.index])
    drop_clips(str(run), BAD[:1], "music", STORAGE)
    with pytest.raises(UsageError, match="dropped clips"):
        open_dataset(run).claim(position)


def test_an_export_that_began_before_the_drop_is_not_gone_on_with(
    run: Path, tmp_path: Path
) -> None:
    export(run, tmp_path / "out", "jsonl")
    drop_clips(str(run), BAD, "music", STORAGE)
    said = r"clips were dropped, .* since then \(left out: 0 then, 3 now\); .*another folder"
    with pytest.raises(IdentityError, match=said):
        export(run, tmp_path / "out", "jsonl")
    undo_drop(str(run), 1, STORAGE)
    export(run, tmp_path / "out", "jsonl")
    drop_clips(str(run), BAD, "music", STORAGE)
    export(run, tmp_path / "without", "jsonl")
    undo_drop(str(run), 1, STORAGE)
    with pytest.raises(
        IdentityError, match=r"`xytok drop --undo`, since then \(left out: 3 then, 0"
    ):
        export(run, tmp_path / "without", "jsonl")


def test_the_tools_say_what_is_dropped(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.txt").write_text("\n".join(BAD) + "\n\n")
    words = ["drop", str(run), "--keys", f"@{tmp_path}/bad.txt", "--reason", "two speakers"]
    assert cli.run(words) == 0
    assert cli.run(words) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "dropped   3 clips, dropped/000001.parquet; 0 were out before"
    assert second == "dropped   0 clips; 3 were out before"
    assert cli.run(["drop", str(run)]) == 0
    assert capsys.readouterr().out == "list      1: 3 clips, two speakers\n"
    assert "dropped   3 of these codes" in "\n".join(read_status(str(run), STORAGE).lines())
    assert find_row(str(run), BAD[0], STORAGE).dropped == "two speakers"
    assert find_row(str(run), "EN_a_0000", STORAGE).dropped is None
    assert cli.run(["show", str(run), BAD[0]]) == 0
    assert '"dropped": "two speakers"' in capsys.readouterr().out
    card = make_card(str(run), STORAGE, licence="other", title="Codes")
    rows = [row for row in rows_of(run) if row["key"] not in BAD]
    assert f"as codes: {len(rows)} clips" in card
    english = [row for row in rows if row["language"] == "en"]
    hours = sum(row["duration"] for row in english) / 3600
    assert f"| en | {len(english)} | {hours:.2f} |" in card
    assert "dropped: 3 (`open_dataset` leaves them out" in card
    assert verify_output(str(run), STORAGE).is_clean


def test_undo_brings_back_what_one_list_took(run: Path) -> None:
    before = keys_read(open_dataset(run))
    drop_clips(str(run), BAD[:1], "music", STORAGE)
    drop_clips(str(run), BAD, "two speakers", STORAGE)
    assert read_dropped(STORAGE, str(run)).num_clips == 3
    assert len(undo_drop(str(run), 2, STORAGE).rows) == 2
    assert keys_read(open_dataset(run)) == [key for key in before if key != BAD[0]]
    with pytest.raises(UsageError, match=r"no list 2 .* one of its lists: 1;"):
        undo_drop(str(run), 2, STORAGE)


def test_keys_that_are_nowhere_or_in_two_parts_drop_nothing(run: Path) -> None:
    with pytest.raises(UsageError, match=r"1 of 2 keys are in no part .*\n.*`EN_a_9999`"):
        drop_clips(str(run), [BAD[0], "EN_a_9999"], "music", STORAGE)
    with pytest.raises(UsageError, match="no reason"):
        drop_clips(str(run), BAD, " ", STORAGE)
    assert not (run / "dropped").exists()


def test_a_file_of_keys_has_one_a_line_whatever_letters_they_have() -> None:
    assert read_keys("a b\r\n\nc\u2028d\x85\n") == ["a b", "c\u2028d\x85"]


def test_a_key_of_two_shards_wants_its_shard(tmp_path: Path) -> None:
    run = make_export_run(tmp_path)
    twin = tmp_path / "in/EN/twin.tar"
    shutil.copy(tmp_path / "in/EN/a.tar", twin)
    words = ["tokenize", str(tmp_path / "in"), str(run), "--codec", "fake", "--root"]
    assert cli.run([*words, str(tmp_path / "in"), "--engine", "inline", "--quiet"]) == 0
    with pytest.raises(UsageError, match=r"1 key is in several parts:\n.*EN/a.*EN/twin"):
        drop_clips(str(run), BAD[:1], "twice", STORAGE)
    drop_clips(str(run), BAD[:1], "twice", STORAGE, shard="twin")
    assert keys_read(open_dataset(run)).count(BAD[0]) == 1


def test_verify_names_lists_that_fit_no_part_or_are_damaged(run: Path) -> None:
    drop_clips(str(run), BAD[:1], "music", STORAGE)
    (run / "dropped/000002.parquet").write_bytes(b"PAR1 and no more")
    found = verify_output(str(run), STORAGE, sources=False)
    assert [fault.path for fault in found.faults] == ["dropped"]
    with pytest.raises(OutputError, match=r"000002.parquet` cannot be read"):
        open_dataset(run)
    (run / "dropped/000002.parquet").unlink()
    for manifest in (run / "manifests").rglob("a.*.json"):
        manifest.unlink()
    found = verify_output(str(run), STORAGE, sources=False)
    assert [fault.path for fault in found.faults] == ["dropped/000001.parquet"]


def test_lists_in_a_bucket(run: Path, s3: S3Server) -> None:
    storage = Storage({"s3": s3.storage_options()})
    fs, _ = storage.filesystem("s3://drops")
    fs.mkdir("drops")
    fs.put(str(run), "drops/out", recursive=True)
    drop_clips("s3://drops/out", BAD, "music", storage)
    left = keys_read(open_dataset("s3://drops/out", storage=storage))
    assert not set(BAD) & set(left)
    assert len(left) == len(rows_of(run)) - 3
