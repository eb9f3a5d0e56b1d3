import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.metadata import parse_json, to_metadata
from pipeline.corpus.pairing import split_name
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.where import fields_of, parse_where
from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards, run_tar
from tests.support.shard_maker import (
    Member,
    audio,
    emilia_json,
    member_offsets,
    pair,
    pairs,
    tar_bytes,
    write_shard,
)

KEYS = [f"clip{n:04d}" for n in range(5)]


def order_of(kind: str, members: list[Member]) -> list[Member]:
    sounds = [m for m in members if m[0].endswith(".mp3")]
    texts = [m for m in members if m[0].endswith(".json")]
    if kind == "audio then json":
        return [m for pair in zip(sounds, texts, strict=True) for m in pair]
    if kind == "all audio, then all json":
        return sounds + texts
    if kind == "all json, then all audio":
        return texts + sounds
    if kind == "all json reversed, last":
        return sounds + texts[::-1]
    mixed = list(members)
    random.Random(kind).shuffle(mixed)
    return mixed


@pytest.mark.parametrize(
    "kind",
    [
        "audio then json",
        "all audio, then all json",
        "all json, then all audio",
        "all json reversed, last",
        "shuffled 1",
        "shuffled 2",
    ],
)
def test_pairs_are_joined_in_any_order(tmp_path: Path, kind: str) -> None:
    members = order_of(kind, pairs(5))
    result = run_tar(write_shard(tmp_path / "s.tar", members), tmp_path / "out")
    heard = [name.removesuffix(".mp3") for name, _ in members if name.endswith(".mp3")]
    assert result.keys == heard
    assert [row["text"] for row in result.rows] == [f" Text of {key}." for key in heard]


@pytest.mark.parametrize("kind", ["audio then json", "all audio, then all json", "shuffled 1"])
def test_where_filters_by_json_wherever_it_lies(tmp_path: Path, kind: str) -> None:
    members = [m for n, k in enumerate(KEYS) for m in pair(k, dnsmos=n)]
    tar = write_shard(tmp_path / "s.tar", order_of(kind, members))
    result = run_tar(tar, tmp_path / "out", where="dnsmos >= 3")
    assert sorted(result.keys) == KEYS[3:]
    assert (result.manifest.filtered, result.rejects) == (3, [])


def test_a_filtered_clip_is_not_rejected_even_when_its_audio_is_bad(tmp_path: Path) -> None:
    bad = [("b.mp3", b"no audio"), ("b.json", emilia_json("b", dnsmos=1))]
    for name, members in (("late", [bad[0], *pair("a"), bad[1]]), ("early", [*bad, *pair("a")])):
        tar = write_shard(tmp_path / f"{name}.tar", members)
        result = run_tar(tar, tmp_path / name, where="dnsmos > 2")
        assert (result.keys, result.reasons, result.manifest.filtered) == (["a"], {}, 1)


def test_txt_members_are_text_and_json_text_wins(tmp_path: Path) -> None:
    members = [("a.mp3", audio()), ("a.txt", "héllo".encode()), *pair("b"), ("b.txt", b"other")]
    result = run_tar(write_shard(tmp_path / "s.tar", members), tmp_path / "out")
    assert [row["text"] for row in result.rows] == ["héllo", " Text of b."]


def test_text_may_come_after_json_that_has_none(tmp_path: Path) -> None:
    note = json.dumps({"speaker": "S"}).encode()
    for order in ("json mp3 txt", "mp3 json txt"):
        kinds = order.split()
        content = {"json": note, "mp3": audio(), "txt": b"late"}
        for name in ("together", "apart"):
            keys = "ab"
            members = [(f"{key}.{kind}", content[kind]) for kind in kinds for key in keys]
            if name == "together":
                members = [(f"{key}.{kind}", content[kind]) for key in keys for kind in kinds]
            tar = write_shard(tmp_path / f"{order}{name}.tar".replace(" ", ""), members)
            result = run_tar(tar, tmp_path / f"{order}-{name}")
            assert [(row["text"], row["speaker"]) for row in result.rows] == [("late", "S")] * 2


def test_numbers_that_json_does_not_have_are_words(tmp_path: Path) -> None:
    note = b'{"dnsmos": NaN, "more": {"snr": [1.5, -Infinity]}}'
    tar = write_shard(tmp_path / "s.tar", [("a.json", note), ("a.mp3", audio())])
    (row,) = run_tar(tar, tmp_path / "out").rows
    assert row["dnsmos"] is None
    assert json.loads(row["extra"]) == {"dnsmos": "nan", "more": {"snr": [1.5, "-inf"]}}


def test_damage_inside_what_a_limit_reads_is_told(tmp_path: Path) -> None:
    content = tar_bytes(pairs(4))
    border = min(member_offsets(content)[f"clip0001.{kind}"][0] for kind in ("json", "mp3"))
    tar = tmp_path / "s.tar"
    tar.write_bytes(content[:border] + b"\xff" * 1024 + content[border:])
    whole = run_tar(tar, tmp_path / "whole").manifest
    assert whole.holes
    limited = run_tar(tar, tmp_path / "limited", limit=3).manifest
    assert limited.holes == whole.holes


def test_limit_takes_the_first_clips_of_a_shard(tmp_path: Path) -> None:
    tar = write_shard(tmp_path / "s.tar", pairs(9))
    result = run_tar(tar, tmp_path / "out", limit=4)
    assert result.keys == [f"clip{n:04d}" for n in range(4)]
    assert (result.manifest.limited, result.manifest.holes) == (True, ())


def test_the_same_file_name_in_two_folders_stays_two_shards(tmp_path: Path) -> None:
    for folder in ("Emilia", "Emilia-YODAS"):
        write_shard(tmp_path / folder / "EN/EN-B000000.tar", pairs(2, prefix=folder))
    shards = list_shards([f"{tmp_path}/**/*.tar"], Storage(), root=str(tmp_path))
    results = run_shards(shards, tmp_path / "out", ReadRules(root=str(tmp_path)))
    assert {path: r.keys[0] for path, r in results.items()} == {
        "Emilia/EN/EN-B000000.tar": "Emilia0000",
        "Emilia-YODAS/EN/EN-B000000.tar": "Emilia-YODAS0000",
    }
    assert (tmp_path / "out/tokens/Emilia-YODAS/EN/EN-B000000.parquet").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp3", ("a", "mp3")),
        ("./d.x/a.MP3", ("d.x/a", "mp3")),
        ("d/a.16k.wav", ("d/a", "16k.wav")),
        ("d/.hidden.mp3", None),
        ("d/._a.mp3", None),
        ("__meta__.json", ("__meta__", "json")),
        ("plain", None),
    ],
)
def test_keys_follow_webdataset(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


@pytest.mark.parametrize(
    "name", ["a.mp3", "d.1/x.json", "a.b.c.json", "d/e/f.Mp3", "no_extension", "ü.flac", "a/b.c/d"]
)
def test_webdataset_splits_names_the_same_way(name: str) -> None:
    from webdataset.tariterators import base_plus_ext

    key, extension = base_plus_ext(name)
    assert split_name(name) == (None if key is None else (key, extension.lower()))


def test_both_emilia_schemas_fill_the_same_columns() -> None:
    yodas: dict[str, Any] = {"_id": "k", "text": "t", "phone_count": 7, "dnsmos": 3, "duration": 2}
    typed = to_metadata("k", yodas, None)
    assert (typed.phone_count, typed.dnsmos, typed.json_duration, typed.extra) == (
        7,
        3.0,
        2.0,
        None,
    )
    emilia = to_metadata("k", json.loads(emilia_json("k", nested={"a": [1]})), None)
    assert json.loads(emilia.extra or "") == {"nested": {"a": [1]}, "wav": "k.mp3"}


def test_values_of_another_type_are_kept_in_extra() -> None:
    fields = {"dnsmos": "high", "phone_count": 2**70, "text": ["x"], "speaker": None, "id": "other"}
    typed = to_metadata("k", fields, None)
    assert (typed.dnsmos, typed.phone_count, typed.text) == (None, None, None)
    kept = {name: value for name, value in fields.items() if name != "speaker"}
    assert json.loads(typed.extra or "") == kept


def test_json_that_escapes_half_a_character_still_fits_parquet() -> None:
    fields = parse_json(rb'{"text": "a\ud800b", "odd": "\udfff"}')
    assert not isinstance(fields, str)
    typed = to_metadata("k", fields, None)
    assert typed.text == r"a\ud800b"
    assert (typed.extra or "").encode()


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ('language == "en" and dnsmos >= 3', True),
        ("dnsmos > 3.5", False),
        ("not missing", True),
        ("missing >= 3 or dnsmos == 3.2", True),
        ('language in ["de", "en"]', True),
        ("2 < dnsmos <= 3.2", True),
        ("dnsmos > 'x'", False),
        ("quality.snr > 10", True),
        ("quality.snr.deep == null", True),
        ("dnsmos > -1", True),
    ],
)
def test_where_compares_fields(expression: str, fits: bool) -> None:
    fields = {"language": "en", "dnsmos": 3.2, "quality": {"snr": 12}}
    assert parse_where(expression)(fields) is fits


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "dnsmos >",
        "__import__('os')",
        "f(1)",
        "[x for x in y]",
        "a if b else c",
        "a is b",
        "x[0]",
    ],
)
def test_where_refuses_everything_else(expression: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        parse_where(expression)


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ('language == "en" and not (a.b.c > 3 or dnsmos < -1)', ["language", "a.b.c", "dnsmos"]),
        ("snr != null and snr > 10 and dnsmos > 3", ["dnsmos"]),
        ("true and 3 < dnsmos < 4 and dnsmos in [x, 2]", ["dnsmos", "x"]),
        ("snr == None", []),
    ],
)
def test_a_filter_needs_the_fields_that_it_does_not_compare_with_null(
    expression: str, fields: list[str]
) -> None:
    assert fields_of(expression) == fields
