"""`xytok doctor` finds what is wrong and says what to do; it never falls over."""

import json
import sys

import pytest

from jobs import cli
from pipeline.inspect import doctor as machine
from pipeline.storage.client import Storage
from tests.support.conformance import CASES
from tests.support.s3_server import S3Server
from xy_codec.contract import Encoded
from xy_codec.fake import FakeCodec
from xy_codec.torchaudio_import import import_torchaudio


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict]]:
    exit_code = cli.run(["doctor", "--json", *arguments])
    return exit_code, {check["subject"]: check for check in json.loads(capsys.readouterr().out)}


def test_doctor_finds_this_machine_fit(capsys):
    exit_code, checks = doctor(capsys)
    assert exit_code == 0
    assert {"python", "torch", "resampler", "mp3", "ray", "audit metrics"} <= set(checks)
    assert checks["mp3"]["verdict"] == "ok"


def test_a_resampler_that_changes_the_sound_is_a_fault(monkeypatch):
    monkeypatch.setattr("xy_codec.audio.resample", lambda sound, *_: sound[: len(sound) * 2 // 3])
    assert machine.check_resampler().verdict == "fault"


@pytest.mark.parametrize(("is_whole", "verdict"), [(False, "note"), (True, "ok")])
def test_a_torchaudio_that_was_imported_without_its_operators_is_told(
    monkeypatch, is_whole, verdict
):
    import_torchaudio()
    extension = sys.modules["torchaudio._extension"]
    monkeypatch.setattr(extension, "_IS_TORCHAUDIO_EXT_AVAILABLE", is_whole)
    check = machine.check_resampler()
    assert check.verdict == verdict
    assert ("`import torchaudio` alone fails" in check.found) is not is_whole


def test_every_fault_and_note_says_what_to_do(capsys):
    _, checks = doctor(capsys, "--codec", "/no/such/checkpoint")
    assert checks["codec"]["verdict"] == "fault"
    assert all(check["advice"] for check in checks.values() if check["verdict"] != "ok")


def test_doctor_tries_a_codec_on_speech(capsys):
    exit_code, checks = doctor(capsys, "--codec", "xy-nano")
    assert exit_code == 0
    assert "8 codebooks of 1,024 at 12.5 frames a second, 1,000 bit/s" in checks["codec"]["found"]
    assert "151 frames, the same twice" in checks["codes"]["found"]
    assert checks["sound"]["verdict"] == "ok"


def test_a_codec_that_was_never_trained_is_a_fault(capsys, tmp_path):
    source = CASES["xy-narrow"](tmp_path).source
    exit_code, checks = doctor(capsys, "--codec", source, "--codec-option", "depth=5")
    assert exit_code == 1
    assert checks["codec"]["verdict"] == "ok"
    assert checks["sound"]["verdict"] == "fault"
    assert "not what was said" in checks["sound"]["advice"]


def test_a_codec_whose_codes_depend_on_company_is_a_fault(capsys, monkeypatch):
    encode = FakeCodec.encode_stream

    def tell_on_each_other(self, clips):
        for number, (tag, encoded) in enumerate(encode(self, clips)):
            yield tag, Encoded(encoded.codes ^ number)

    monkeypatch.setattr(FakeCodec, "encode_stream", tell_on_each_other)
    exit_code, checks = doctor(capsys, "--codec", "fake")
    assert (exit_code, checks["codes"]["verdict"]) == (1, "fault")
    assert "other codes" in checks["codes"]["found"]


def test_side_values_that_come_only_alone_are_a_fault(capsys, monkeypatch):
    encode = FakeCodec.encode_stream

    def lose_sides_of_later_clips(self, clips):
        for number, (tag, encoded) in enumerate(encode(self, clips)):
            yield tag, Encoded(encoded.codes, None if number else encoded.side)

    monkeypatch.setattr(FakeCodec, "encode_stream", lose_sides_of_later_clips)
    exit_code, checks = doctor(capsys, "--codec", "fake-odd")
    assert (exit_code, checks["codes"]["verdict"]) == (1, "fault")
    assert "other codes" in checks["codes"]["found"]


def test_doctor_writes_to_a_bucket_and_leaves_nothing(capsys, s3: S3Server, monkeypatch):
    storage = Storage({"s3": s3.storage_options()})
    storage.filesystem("s3://doctor/x")[0].mkdir("doctor")
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    exit_code, checks = doctor(capsys, "s3://doctor/out", "--write")
    assert exit_code == 0, checks["storage"]
    assert "0 files listed, a file written and removed" in checks["storage"]["found"]
    assert storage.list_files("s3://doctor") == []


def test_a_folder_without_files_is_told(capsys, tmp_path):
    exit_code, checks = doctor(capsys, str(tmp_path / "misspelt"))
    assert (exit_code, checks["storage"]["verdict"]) == (0, "note")
    assert "misspelt`: 0 files listed; no such folder or an empty" in checks["storage"]["found"]


def test_unwritable_folder_is_a_fault(capsys, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    exit_code, checks = doctor(capsys, str(blocker / "out"), "--write")
    assert exit_code == 1
    assert checks["storage"]["verdict"] == "fault"


def test_full_disk_is_named(tmp_path):
    check = machine.check_disk("temporary files", tmp_path, min_free_bytes=10**18)
    assert check.verdict == "note"
    assert "TMPDIR" in check.advice
