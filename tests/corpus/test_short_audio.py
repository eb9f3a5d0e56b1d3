"""Audio that ends before its header or its JSON says is counted, or a reject if that is asked."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.corpus.decode import ClipBounds, DecodedClip, decode_clip
from pipeline.corpus.stated_length import stated_samples
from tests.support.inline_run import run_tar
from tests.support.shard_maker import audio, emilia_json, pair, write_shard
from xy_codec.mp3_frames import with_length


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    whole, wav = audio(4.0), audio(4.0, kind="wav")
    members = [
        *pair("whole", 1.0),
        ("half.mp3", whole[: len(whole) // 2]),
        ("cut.wav", wav[: len(wav) // 2]),
        ("stated.wav", audio(1.0, kind="wav")),
        ("stated.json", emilia_json("stated", duration=1.6)),
        ("near.wav", audio(1.0, kind="wav")),
        ("near.json", emilia_json("near", duration=1.4)),
    ]
    return write_shard(tmp_path / "s.tar", members)


def test_rows_that_end_early_are_counted(tar: Path, tmp_path: Path) -> None:
    result = run_tar(tar, tmp_path / "out")
    assert (len(result.rows), result.manifest.ended_early) == (5, 3)
    assert b'"ended_early": 3' in result.manifest.to_json()
    whole = write_shard(tmp_path / "whole.tar", pair("whole"))
    assert b"ended_early" not in run_tar(whole, tmp_path / "fine").manifest.to_json()


def test_rows_that_end_early_are_rejects_where_that_is_asked(tar: Path, tmp_path: Path) -> None:
    result = run_tar(tar, tmp_path / "out", reject_short=True)
    assert result.keys == ["whole", "near"]
    assert result.reasons == {"half": "cut_off", "cut": "cut_off", "stated": "cut_off"}
    assert "4.000 s are stated" in result.rejects[0]["detail"]
    assert result.manifest.ended_early == 0


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "IMA_ADPCM"),
        ("wavex", "PCM_24"),
        ("rf64", "FLOAT"),
        ("w64", "PCM_16"),
        ("aiff", "PCM_16"),
        ("au", "ULAW"),
        ("nist", "PCM_16"),
    ],
)
def test_uncompressed_audio_that_was_cut_ends_early(kind: str, subtype: str) -> None:
    whole = audio(4.0, kind=kind, subtype=subtype)
    found = [decode_clip(each, 24000, ClipBounds()) for each in (whole, whole[: len(whole) // 2])]
    for clip in found:
        assert isinstance(clip, DecodedClip)
        assert clip.declared_samples == pytest.approx(96000, abs=2500)  # ADPCM has blocks
        assert (clip is found[0]) == (clip.num_samples > 50000)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_that_was_written_into_a_pipe_states_no_length(size: int) -> None:
    whole = audio(1.0, kind="wav")
    at = whole.index(b"data") + 4
    piped = whole[:at] + size.to_bytes(4, "little") + whole[at + 4 :]
    assert stated_samples(piped, 24000) == 24000


def mp3(seconds: float, mode: str) -> tuple[bytes, bytes]:
    """Noise that falls silent after a second as MP3, with a header of Xing and without."""
    samples = np.zeros(round(seconds * 24000), np.float32)
    samples[:24000] = 0.3 * np.random.default_rng(0).standard_normal(24000)
    file = io.BytesIO()
    soundfile.write(file, samples, 24000, format="MP3", bitrate_mode=mode, compression_level=0.5)
    tagged = file.getvalue()
    # The header is a frame of its own; the next one begins with the same two bytes.
    return tagged, tagged[tagged.index(tagged[:2], 2) :]


def sound(payload: bytes) -> Any:
    samples, _ = soundfile.read(io.BytesIO(payload), dtype="float32")
    return samples


def test_mp3_of_varying_bit_rate_is_read_whole_without_a_header() -> None:
    tagged, plain = mp3(8.0, "VARIABLE")
    assert len(sound(plain)) < 96000  # of 192,000
    assert with_length(tagged) is tagged
    clip = decode_clip(plain, 24000, ClipBounds())
    assert isinstance(clip, DecodedClip)
    assert clip.declared_samples == clip.num_samples > 192000
    # Only a header says how much silence the encoder put in front: 576 samples.
    np.testing.assert_allclose(clip.waveform[576:][:190000], sound(tagged)[:190000], atol=1e-6)


def test_joined_mp3_are_read_to_the_end_of_the_last() -> None:
    tagged, _ = mp3(8.0, "VARIABLE")
    assert len(sound(tagged + tagged)) == 192000
    assert len(sound(with_length(tagged + tagged))) > 2 * 192000


def test_bytes_between_the_frames_of_mp3_are_skipped() -> None:
    _, plain = mp3(8.0, "VARIABLE")
    damaged = plain[:3000] + b"\xff\xf3" * 500 + plain[3000:]
    clip = decode_clip(damaged, 24000, ClipBounds())
    assert isinstance(clip, DecodedClip)
    assert clip.declared_samples == clip.num_samples > 192000


def test_mp3_of_constant_bit_rate_is_read_as_it_is() -> None:
    tagged, plain = mp3(4.0, "CONSTANT")
    assert len(sound(plain)) >= 96000
    for payload in (tagged, plain, plain[:700], b"ID3", b"\xff\xf3"):
        assert with_length(payload) is payload
