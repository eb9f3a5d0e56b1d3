"""What libsndfile does not know: decoded with `--pyav`, else rejects that name the remedy."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.corpus.clip_source import audio_reader
from pipeline.corpus.decode import ClipBounds, ClipFault, DecodedClip, container_of, decode_clip
from pipeline.corpus.listing import list_shards
from pipeline.corpus.pyav_decode import decode_clip as decode_by_pyav
from pipeline.corpus.pyav_decode import pyav_version
from pipeline.corpus.rules import ReadRules
from pipeline.errors import UsageError
from pipeline.output.identity import build_identity
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards, run_tar
from tests.support.shard_maker import audio, speech, write_shard
from xy_codec.fake import FakeCodec

av = pytest.importorskip("av")

FORMATS = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "webm": ("webm", "libopus")}
RATE = 48_000


def encoded(kind: str, seconds: float = 1.0, channels: int = 1) -> bytes:
    """Real audio of a kind, written by FFmpeg."""
    container, codec = FORMATS[kind]
    file = io.BytesIO()
    layout = "mono" if channels == 1 else "stereo"
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=RATE, layout=layout)
        samples = np.ascontiguousarray(speech(seconds, RATE, channels).T)
        frame: Any = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = RATE
        for each in (frame, None):
            output.mux(stream.encode(each))
    return file.getvalue()


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("channels", [1, 2])
def test_pyav_decodes_what_libsndfile_does_not_know(kind: str, channels: int) -> None:
    payload = encoded(kind, 1.0, channels)
    refused = decode_clip(payload, 24000, ClipBounds())
    assert isinstance(refused, ClipFault)
    assert "install `xytok[av]`, pass `--pyav`" in refused.detail
    clip = decode_by_pyav(payload, 24000, ClipBounds())
    assert isinstance(clip, DecodedClip)
    assert clip.sample_rate == RATE
    assert clip.num_samples / RATE == pytest.approx(1.0, abs=0.08)
    wanted = speech(1.0, RATE)[:, 0]
    # Lossy, and AAC in ADTS begins a little late: the loudness over time is what was encoded.
    assert np.sqrt(np.mean(clip.waveform**2)) == pytest.approx(np.sqrt(np.mean(wanted**2)), rel=0.1)
    again = decode_by_pyav(payload, 24000, ClipBounds())
    assert isinstance(again, DecodedClip)
    np.testing.assert_array_equal(clip.waveform, again.waveform)


@pytest.mark.parametrize("kind", ["mp3", "flac", "wav", "ogg", "opus"])
def test_what_libsndfile_reads_stays_with_it(kind: str) -> None:
    payload = audio(0.5, kind=kind)
    assert container_of(payload) is None
    one, other = (f(payload, 24000, ClipBounds()) for f in (decode_clip, decode_by_pyav))
    assert isinstance(one, DecodedClip)
    assert isinstance(other, DecodedClip)
    np.testing.assert_array_equal(one.waveform, other.waveform)


def test_bad_files_are_rejects_and_lists_of_urls_are_never_opened(tmp_path: Path) -> None:
    m4a = encoded("m4a")
    (tmp_path / "secret.wav").write_bytes(audio(kind="wav"))
    bad = {
        "cut": m4a[: len(m4a) // 3],
        "head": m4a[:12],
        "playlist": f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n".encode(),
        "ebml": b"\x1a\x45\xdf\xa3" + bytes(500),
    }
    for name, payload in bad.items():
        assert isinstance(decode_by_pyav(payload, 24000, ClipBounds()), ClipFault), name
    too_long = decode_by_pyav(encoded("webm", 2.0), 24000, ClipBounds(max_seconds=1.0))
    assert isinstance(too_long, ClipFault)
    assert too_long.reason == "too_long"


def test_a_run_takes_them_and_its_identity_has_the_decoder(tmp_path: Path) -> None:
    members = [(f"{kind}.{kind}", encoded(kind)) for kind in FORMATS]
    tar = write_shard(tmp_path / "s.tar", members)
    assert set(run_tar(tar, tmp_path / "without").reasons.values()) == {"undecodable"}
    result = run_tar(tar, tmp_path / "with", pyav=True)
    assert result.keys == list(FORMATS)
    identity = build_identity(FakeCodec().identity, ReadRules(pyav=True))
    assert identity.decoder.endswith(f"+{pyav_version()}")
    assert ReadRules.of_reading(identity.to_dict()).pyav


def test_a_machine_without_pyav_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'xytok\[av\]'"):
        build_identity(FakeCodec().identity, ReadRules(pyav=True))


@pytest.mark.parametrize("kind", ["m4a", "webm"])
def test_segments_are_cut_out_of_what_only_pyav_reads(kind: str, tmp_path: Path) -> None:
    (tmp_path / f"long.{kind}").write_bytes(encoded(kind, 3.0))
    whole = decode_by_pyav(encoded(kind, 3.0), RATE, ClipBounds())
    assert isinstance(whole, DecodedClip)
    rows = "".join(f"long.{kind},{n / 2},{n / 2 + 1}\n" for n in range(4))
    (tmp_path / "cuts.csv").write_text(f"path,start,end\n{rows}long.{kind},90,91\n")
    shards = list_shards([str(tmp_path / "cuts.csv")], Storage())
    (result,) = run_shards(shards, tmp_path / "out", ReadRules(pyav=True)).values()
    assert [row["duration"] for row in result.rows] == [1.0] * 4
    assert [each["reason"] for each in result.rejects] == ["cut_off"]
    (shard,) = shards
    read = audio_reader(
        shard.path, shard.url, Storage(), ReadRules(pyav=True), lambda: shard.listed
    )
    third, rate = soundfile.read(io.BytesIO(read(2, 0)), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(third, whole.waveform[RATE : 2 * RATE])
    (result,) = run_shards(shards, tmp_path / "without", ReadRules()).values()
    assert {each["reason"] for each in result.rejects} == {"undecodable"}
    assert "pass `--pyav`" in result.rejects[0]["detail"]
