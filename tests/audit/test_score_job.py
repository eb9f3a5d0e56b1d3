import json

import pytest
import soundfile

from jobs.cli import run
from tests.support.speech_pairs import speech_pairs


@pytest.fixture
def folders(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side / "en").mkdir(parents=True)
    for number, (original, damaged) in enumerate(speech_pairs()[:2]):
        suffix = "flac" if number else "wav"
        kind = None if number else "FLOAT"
        soundfile.write(tmp_path / f"a/en/{number}.{suffix}", original, 16000, subtype=kind)
        soundfile.write(tmp_path / f"b/en/{number}.wav", damaged, 16000, subtype=kind)
    return tmp_path


def score(*words) -> int:
    return run(["score", *map(str, words), "--processes", "0"])


def test_two_files_give_a_table(folders, capsys):
    pair = (folders / "a/en/0.wav", folders / "b/en/0.wav")
    assert score(*pair, "--metrics", "sim,stoi") == 0
    out = capsys.readouterr().out
    assert "SIM (campplus)" in out
    assert "0.949" in out
    assert "PESQ" not in out


def test_folders_are_matched_by_name_and_give_a_line_each(folders, capsys):
    assert score(folders / "a", folders / "b", "--metrics", "stoi", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["pair"] for line in lines] == ["en/0", "en/1"]
    assert all(0.9 < line["stoi"] < 1 for line in lines)


def test_a_figure_that_cannot_be_had_is_told_and_exits_with_one(folders, capsys):
    soundfile.write(folders / "b/en/1.wav", speech_pairs()[1][1] * 0, 16000)
    assert score(folders / "a", folders / "b", "--metrics", "acoustics") == 1
    assert "gain_db: silent (1 pair, the first is `en/1`)" in capsys.readouterr().out


def test_files_without_partner_are_refused(folders, capsys):
    (folders / "b/en/1.wav").unlink()
    assert score(folders / "a", folders / "b") == 2
    assert "en/1" in capsys.readouterr().err
    assert score(folders / "a", folders / "nowhere") == 2
    assert score(folders / "a", folders / "b/en/0.wav") == 2


def test_one_unreadable_file_does_not_end_the_others(folders, capsys):
    (folders / "b/en/0.wav").write_bytes(b"RIFF, but no more")
    assert score(folders / "a", folders / "b", "--metrics", "stoi", "--json") == 1
    out, err = capsys.readouterr()
    pairs = {line["pair"]: line for line in map(json.loads, out.splitlines())}
    assert pairs["en/0"]["reasons"] == {"original": "unreadable"}
    assert 0.9 < pairs["en/1"]["stoi"] < 1
    assert "en/0.wav" in err


def test_two_files_of_one_name_are_refused(folders, capsys):
    soundfile.write(folders / "a/en/0.flac", speech_pairs()[0][0], 16000)
    assert score(folders / "a", folders / "b", "--metrics", "stoi") == 2
    assert "have one name" in capsys.readouterr().err
