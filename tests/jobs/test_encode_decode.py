"""`xytok encode` and `xytok decode`: a person's first contact with the codec."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.cli import run

KINDS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.flac": ("FLAC", "PCM_16"),
    "c.mp3": ("MP3", None),
    "d.ogg": ("OGG", "VORBIS"),
    "e.opus": ("OGG", "OPUS"),
}


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    samples = np.random.default_rng(1).standard_normal((24000, 2)) * 0.1
    for name, (kind, subtype) in KINDS.items():
        soundfile.write(folder / name, samples, 24000, format=kind, subtype=subtype)
    return folder


def test_files_become_codes_and_wavs_again(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, wavs = tmp_path / "codes", tmp_path / "wavs"
    assert run(["encode", str(audio), "-o", str(codes), "--device", "cpu"]) == 0
    assert sorted(path.stem for path in codes.iterdir()) == list("abcde")
    said = capsys.readouterr()
    assert "a.npz  12 frames" in said.out
    assert "codec: `xy-nano`, a small one for trials" in said.err
    assert run(["decode", str(codes), "-o", str(wavs), "--device", "cpu"]) == 0
    samples, rate_hz = soundfile.read(wavs / "a.wav")
    assert (len(samples), rate_hz) == (12 * 1280, 16000)


def test_folders_are_kept_so_that_one_name_may_be_in_two(audio: Path, tmp_path: Path) -> None:
    for name in ("one/take.9.v2.wav", "two/deep/take.9.v2.wav", "two/take.9.v3.flac"):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        (audio / name).write_bytes((audio / "a.wav").read_bytes())
    codes, wavs = tmp_path / "codes", tmp_path / "wavs"
    assert run(["encode", str(audio), "-o", str(codes), "--codec", "fake"]) == 0
    written = {str(path.relative_to(codes)) for path in codes.rglob("*.npz")}
    assert {"one/take.9.v2.npz", "two/deep/take.9.v2.npz", "two/take.9.v3.npz"} < written
    assert run(["decode", str(codes), "-o", str(wavs), "--codec", "fake"]) == 0
    assert (wavs / "two/deep/take.9.v2.wav").exists()
    words = ["encode", str(audio / "one"), str(audio / "two/deep"), "-o", str(tmp_path / "same")]
    assert run([*words, "--codec", "fake"]) == 2


def test_names_are_looked_at_before_the_codec_is_loaded(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (audio / "more").mkdir()
    (audio / "more/a.wav").write_bytes((audio / "a.wav").read_bytes())
    monkeypatch.setattr("pipeline.worker.codec_request.CodecRequest.load", None)
    words = ["encode", str(audio / "a.wav"), str(audio / "more/a.wav"), "-o", str(tmp_path / "out")]
    assert run([*words, "--codec", "xy-nano"]) == 2
    said = capsys.readouterr().err
    assert "would both write" in said
    assert "for trials" not in said


def test_a_bad_file_is_named_and_the_rest_is_encoded(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (audio / "a.wav").write_bytes(b"no audio")
    assert run(["encode", str(audio), "-o", str(tmp_path / "codes"), "--codec", "fake"]) == 1
    said = capsys.readouterr()
    assert "a.wav` as audio" in said.err
    assert "encoded 4 of 5 files" in said.err


def test_codes_of_another_codec_are_not_decoded(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, wavs = tmp_path / "codes", tmp_path / "wavs"
    assert run(["encode", str(audio / "b.flac"), "-o", str(codes), "--codec", "fake"]) == 0
    assert run(["decode", str(codes), "-o", str(wavs), "--device", "cpu"]) == 1
    assert "encoded with `fake`" in capsys.readouterr().err


def test_only_the_first_codebooks_can_be_kept(audio: Path, tmp_path: Path) -> None:
    codes, wavs = tmp_path / "codes", tmp_path / "wavs"
    options = ["--codec", "fake", "--codec-option", "depth=2"]
    assert run(["encode", str(audio / "b.flac"), "-o", str(codes), *options]) == 0
    with np.load(codes / "b.npz") as data:
        assert data["codes"].shape == (2, 12)
    assert run(["decode", str(codes), "-o", str(wavs), "--codec", "fake"]) == 0


def test_two_inputs_with_one_name_and_missing_inputs_are_refused(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (audio / "a.wav").rename(audio / "b.wav")
    assert run(["encode", str(audio), "-o", str(tmp_path), "--codec", "fake"]) == 2
    assert "would both write" in capsys.readouterr().err
    assert run(["encode", "/nowhere.wav", "-o", str(tmp_path), "--codec", "fake"]) == 2
    assert "`/nowhere.wav` does not exist" in capsys.readouterr().err


def test_a_sound_file_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = tmp_path / "a.wav"
    soundfile.write(audio, np.zeros(16000, np.float32), 16000)
    assert run(["encode", str(audio), "-o", str(tmp_path / "codes"), "--device", "cpu"]) == 0
    (tmp_path / "wavs" / "a.wav").mkdir(parents=True)  # a folder has the name
    words = ["decode", str(tmp_path / "codes"), "-o", str(tmp_path / "wavs"), "--device", "cpu"]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "a.wav` cannot be written (" in said
    assert "Traceback" not in said
