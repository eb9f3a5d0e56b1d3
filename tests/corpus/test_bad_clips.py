"""Every fault of a clip is a reject with the right reason; its neighbours become codes."""

import gzip
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpus.decode import ClipBounds, ClipFault, DecodedClip, decode_clip
from pipeline.corpus.tar_header import BLOCK
from pipeline.errors import NodeError
from tests.support.inline_run import run_tar
from tests.support.shard_maker import (
    audio,
    emilia_json,
    float_wav,
    member_offsets,
    pair,
    pairs,
    speech,
    tar_bytes,
    write_shard,
)

GOOD = [*pair("a"), *pair("z", seed=1)]


def run(tmp_path: Path, content: Any, **rules: Any):
    return run_tar(write_shard(tmp_path / "s.tar", content), tmp_path / "out", **rules)


def nan_wav() -> bytes:
    samples = speech(1.0)[:, 0].copy()
    samples[5000] = np.nan
    return float_wav(samples)


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("m.mp3", b"", "empty"),
        ("m.wav", float_wav(np.zeros(0, np.float32)), "empty"),
        ("m.mp3", b"this is a text, not audio. " * 40, "undecodable"),
        ("m.m4a", b"\0\0\0\x20ftypM4A " + bytes(400), "undecodable"),
        ("m.wav", nan_wav(), "non_finite"),
        ("m.wav", float_wav(np.full(24000, np.inf, np.float32)), "non_finite"),
        ("m.wav", audio(0.1, kind="wav", channels=80), "too_many_channels"),
        ("m.wav", audio(1.0, kind="wav", rate=1000), "bad_sample_rate"),
        ("m.wav", audio(1.0, kind="wav", rate=22051), "bad_sample_rate"),
        ("m.wav", audio(0.07, kind="wav", rate=16000), "too_short"),
        ("m.flac", audio(9.0, kind="flac"), "too_long"),
        ("m.flac", b"\xff" * 400_000, "too_big"),
    ],
)
def test_a_bad_clip_is_a_reject_with_its_reason(
    tmp_path: Path, name: str, payload: bytes, reason: str
) -> None:
    members = [*pair("a"), ("m.json", emilia_json("m")), (name, payload), *pair("z")]
    result = run(tmp_path, members, max_clip_seconds=8.0, max_member_bytes=390_000)
    assert result.keys == ["a", "z"]
    assert result.reasons == {"m": reason}
    assert result.rejects[0]["detail"]


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (
            b'{"a": 1}\n',
            "not audio that libsndfile knows (it begins with 7b 22 61 22 3a 20 31 7d …)",
        ),
        (
            b"RIFF\0\0\0\0WAVEx",
            "No 'data' chunk marker. (it begins with 52 49 46 46 00 00 00 00 …)",
        ),
    ],
)
def test_what_is_no_audio_is_told_by_its_bytes(payload: bytes, detail: str) -> None:
    fault = decode_clip(payload, 16000, ClipBounds())
    assert isinstance(fault, ClipFault)
    assert fault.detail.endswith(detail)
    assert "opening" not in fault.detail


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_machine_without_file_descriptors_or_memory_is_not_the_clip_s_fault() -> None:
    clip = audio(100.0, kind="flac", rate=48000, channels=2)
    with limited(resource.RLIMIT_NOFILE, 3), pytest.raises(NodeError, match="Too many open files"):
        decode_clip(clip, 16000, ClipBounds())
    most = address_space_bytes() + (8 << 20)
    no_memory = pytest.raises(NodeError, match=r"MemoryError|can't allocate memory")
    with limited(resource.RLIMIT_AS, most), no_memory:
        decode_clip(clip, 16000, ClipBounds())
    assert isinstance(decode_clip(clip, 16000, ClipBounds()), DecodedClip)


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        ("mp3", 24000, 1),
        ("flac", 96000, 8),
        ("wav", 48000, 2),
        ("ogg", 44100, 2),
        ("opus", 48000, 1),
    ],
)
def test_every_format_becomes_codes(tmp_path: Path, kind: str, rate: int, channels: int) -> None:
    payload = audio(1.0, kind=kind, rate=rate, channels=channels)
    result = run(tmp_path, [(f"m.{kind}", payload)])
    (row,) = result.rows
    assert (row["sample_rate"], row["num_frames"]) == (rate, 12)
    assert row["num_samples"] == pytest.approx(rate, abs=rate // 8)
    assert np.array(row["codes"]).shape == (8, 12)


def test_an_mp3_with_junk_around_it_is_codes_or_a_named_reject(tmp_path: Path) -> None:
    payload = b"\x00junk" * 300 + audio(2.0) + b"junk" * 300
    result = run(tmp_path, [*GOOD, ("m.mp3", payload)])
    assert set(result.keys) | set(result.reasons) == {"a", "z", "m"}
    assert set(result.reasons.values()) <= {"undecodable"}


def test_json_that_is_no_json_object_is_a_reject(tmp_path: Path) -> None:
    broken = {"b1": b"{not json", "b2": b"[1, 2]", "b3": b"\xff\xfe{", "b4": b""}
    members = [m for k, j in broken.items() for m in ((f"{k}.json", j), (f"{k}.mp3", audio()))]
    result = run(tmp_path, [*GOOD, *members])
    assert result.keys == ["a", "z"]
    assert result.reasons == dict.fromkeys(broken, "bad_json")


def test_text_that_is_no_unicode_is_a_reject_where_it_would_be_used(tmp_path: Path) -> None:
    latin = "caf\xe9".encode("latin-1")
    texts = {
        "plain": ("caf\xe9".encode(), []),
        "marked": ("caf\xe9".encode("utf-8-sig"), []),
        "wide": ("caf\xe9".encode("utf-16"), []),
        "latin": (latin, []),
        "without": (latin, [("without.json", b"{}")]),
        "known": (latin, [("known.json", emilia_json("known"))]),
    }
    early = [
        member
        for key, (text, more) in texts.items()
        for member in [*more, (f"{key}.txt", text), (f"{key}.mp3", audio())]
    ]
    late = [("late.mp3", audio()), ("between.mp3", audio()), ("late.txt", latin)]
    result = run(tmp_path, [*early, *late])
    assert {row["key"]: row["text"] for row in result.rows} == {
        "plain": "caf\xe9",
        "marked": "caf\xe9",
        "wide": "caf\xe9",
        "known": " Text of known.",
        "between": None,
    }
    assert result.reasons == dict.fromkeys(("latin", "without", "late"), "bad_text")
    assert "at byte 3" in result.rejects[0]["detail"]


def test_a_second_audio_of_a_key_is_a_reject_and_the_first_counts(tmp_path: Path) -> None:
    result = run(tmp_path, [*pair("a"), *pair("b"), *pair("a", seed=3), ("b.wav", b"x")])
    assert result.keys == ["a", "b"]
    assert [r["reason"] for r in result.rejects] == ["duplicate_key"] * 2


def test_json_without_audio_is_missing_audio(tmp_path: Path) -> None:
    result = run(tmp_path, [*pair("a"), ("b.json", emilia_json("b")), *pair("c")])
    assert result.keys == ["a", "c"]
    assert result.reasons == {"b": "missing_audio"}


def test_a_link_in_a_tar_is_a_reject_as_its_audio_lies_elsewhere(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "s.tar", pair("a"))
    with tarfile.open(path, "a") as tar:
        for name, kind in (("hard", tarfile.LNKTYPE), ("soft", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(f"{name}.mp3")
            link.type, link.linkname = kind, "a.mp3"
            tar.addfile(link)
        words = tarfile.TarInfo("hard.txt")
        words.type, words.linkname = tarfile.LNKTYPE, "a.txt"
        tar.addfile(words)
    result = run_tar(path, tmp_path / "out")
    assert result.keys == ["a"]
    assert result.reasons == {"hard": "missing_audio", "soft": "missing_audio"}
    assert all("link to `a.mp3`" in each["detail"] for each in result.rejects)
    # Where the filter leaves a clip out, it is no reject.
    assert run_tar(path, tmp_path / "kept", where="dnsmos > 0").reasons == {}


def test_audio_without_json_is_fine_unless_json_is_required(tmp_path: Path) -> None:
    members = [("a.mp3", audio()), *pair("b")]
    assert run(tmp_path / "1", members).keys == ["a", "b"]
    required = run(tmp_path / "2", members, require_json=True)
    assert (required.keys, required.reasons) == (["b"], {"a": "missing_json"})


def test_a_key_is_never_a_path(tmp_path: Path) -> None:
    result = run(tmp_path, [*pair("../../../tmp/evil"), *pair("/etc/evil"), *pair("ok")])
    assert result.keys == ["../../../tmp/evil", "/etc/evil", "ok"]
    written = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"s.tar", "out"}


def test_names_that_are_not_utf8_become_visible_keys(tmp_path: Path) -> None:
    whole = tar_bytes([("caf_.mp3", audio())])
    info = tarfile.TarInfo("caf\udce9.mp3")
    info.size = len(audio())
    header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    assert run(tmp_path, header + whole[BLOCK:]).keys == [r"caf\xe9"]


@pytest.mark.parametrize("damage", ["checksum", "garbage", "truncated", "zeros", "claims_100_gb"])
def test_whole_clips_before_and_after_damage_are_codes(tmp_path: Path, damage: str) -> None:
    whole = tar_bytes(pairs(6))
    content = bytearray(whole)
    header, payload = member_offsets(whole)["clip0003.mp3"]
    keys = [f"clip{n:04d}" for n in range(6)]
    lost = {"clip0003"}
    if damage == "checksum":
        content[header + 150] ^= 1
    elif damage == "garbage":
        content[header:header] = b"\x5a" * 777
        lost = set()
    elif damage == "zeros":
        content[header:header] = bytes(4 * BLOCK)
        lost = set()
    elif damage == "truncated":
        del content[payload + 300 :]
        lost = {"clip0003", "clip0004", "clip0005"}
    else:
        info = tarfile.TarInfo("clip0003.mp3")
        info.size = 100 * 10**9
        content[header : header + BLOCK] = info.tobuf(tarfile.GNU_FORMAT)
    result = run(tmp_path, bytes(content))
    assert result.keys == [key for key in keys if key not in lost]
    assert len(result.manifest.holes) == 1
    reasons = {"truncated": {"clip0003": "cut_off"}, "claims_100_gb": {"clip0003": "too_big"}}
    expected = reasons.get(damage, {"clip0003": "missing_audio"} if lost else {})
    assert result.reasons == expected


def test_an_empty_tar_is_an_empty_part_without_holes(tmp_path: Path) -> None:
    result = run(tmp_path, [])
    assert (result.rows, result.rejects, result.manifest.holes) == ([], [], ())


def test_a_file_that_is_no_tar_is_one_hole(tmp_path: Path) -> None:
    result = run(tmp_path, b"<html>404</html>" * 100)
    assert (result.rows, [hole.size_bytes for hole in result.manifest.holes]) == ([], [1600])


def test_a_gzipped_tar_has_the_same_codes_and_no_offsets(tmp_path: Path) -> None:
    plain = run(tmp_path, GOOD)
    packed = write_shard(tmp_path / "s.tar.gz", gzip.compress(tar_bytes(GOOD), mtime=0))
    result = run_tar(packed, tmp_path / "gz")
    assert [row["codes"] for row in result.rows] == [row["codes"] for row in plain.rows]
    assert [row["tar_offset"] for row in result.rows] == [None, None]


def test_a_too_big_member_of_a_gzipped_tar_is_one_reject_and_no_damage(tmp_path: Path) -> None:
    content = tar_bytes([*GOOD, ("m.flac", b"\xff" * 400_000), *pair("zz")])
    packed = write_shard(tmp_path / "s.tar.gz", gzip.compress(content))
    result = run_tar(packed, tmp_path / "gz", max_member_bytes=300_000)
    assert (result.keys, result.reasons) == (["a", "z", "zz"], {"m": "too_big"})
    assert result.manifest.holes == ()


def test_an_offset_reads_the_clip_back_from_the_tar(tmp_path: Path) -> None:
    import xxhash

    result = run(tmp_path, pairs(3))
    content = (tmp_path / "s.tar").read_bytes()
    for row in result.rows:
        payload = content[row["tar_offset"] :][: row["tar_size"]]
        assert xxhash.xxh64_intdigest(payload) == row["audio_xxh64"]
