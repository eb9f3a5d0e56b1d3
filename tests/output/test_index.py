"""The index holds what all manifests say, and is believed only where a manifest is listed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.corpus.listing import list_shards
from pipeline.errors import OutputError
from pipeline.output import index as index_module
from pipeline.output.index import INDEX, read_shards, write_index
from pipeline.output.index_table import INDEX_SCHEMA
from pipeline.output.manifest import list_manifests, read_named_manifests, write_manifest
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards
from tests.support.shard_maker import pairs, tar_bytes, write_shard

STORAGE = Storage()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards: one with a reject, one with a hole."""
    folder = tmp_path_factory.mktemp("index")
    for n in range(6):
        write_shard(folder / f"in/{n}.tar", pairs(1 + n % 2))
    write_shard(folder / "in/3.tar", [*pairs(1), ("bad.mp3", b"not audio")])
    whole = tar_bytes(pairs(2))
    write_shard(folder / "in/4.tar", whole[: len(whole) // 2])
    run_shards(list_shards([str(folder / "in")], STORAGE, str(folder / "in")), folder / "out")
    return folder / "out"


@pytest.fixture
def output(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy, with row groups so small that there are several."""
    monkeypatch.setattr(index_module, "ROW_GROUP_ROWS", 4)
    return str(shutil.copytree(made, tmp_path / "out"))


def rows(output: str) -> list[dict[str, Any]]:
    tables = read_shards(STORAGE, output, list_manifests(STORAGE, output), INDEX_SCHEMA.names)
    return [row for table in tables for row in table.to_pylist()]


def content(output: str) -> bytes:
    return (Path(output) / INDEX).read_bytes()


def test_its_rows_are_what_the_manifests_say(output: str) -> None:
    assert write_index(STORAGE, output).shards == 6
    written: list[dict[str, Any]] = pq.read_table(Path(output) / INDEX).to_pylist()
    for row in written:
        manifest = json.loads((Path(output) / row["manifest"]).read_text())
        assert row["manifest_size_bytes"] == (Path(output) / row["manifest"]).stat().st_size
        for file in ("part", "reject_file"):
            assert {k: row[f"{file}_{k}"] for k in manifest[file]} == manifest.pop(file)
        reasons = {each["reason"]: each["count"] for each in row["rejects_by_reason"]}
        assert reasons == manifest.pop("rejects_by_reason")
        keys: Any = pq.read_table(Path(output) / row["part_path"])["key"].to_pylist()
        smallest, largest = manifest.pop("key_range") or (None, None)
        assert (row["smallest_key"], row["largest_key"]) == (smallest, largest)
        assert (smallest, largest) == (min(keys, default=None), max(keys, default=None))
        assert {name: row[name] for name in manifest} == manifest
        assert row["num_holes"] == len(manifest["holes"])
    assert [row["num_holes"] for row in written] == [0, 0, 0, 0, 1, 0]
    assert written[3]["rejects_by_reason"] == [{"reason": "undecodable", "count": 1}]


def test_an_update_gives_the_bytes_of_an_index_from_nothing(output: str) -> None:
    names = list_manifests(STORAGE, output)
    write_index(STORAGE, output)
    from_nothing = content(output)
    # An old index: three shards are unknown to it, and one of its shards is not done any more.
    gone = Path(output) / names[1].path
    manifest = gone.read_bytes()
    write_index(STORAGE, output, names[1:4], rebuild=True)
    gone.unlink()
    assert write_index(STORAGE, output).read == 3
    gone.write_bytes(manifest)
    assert write_index(STORAGE, output).read == 1
    assert content(output) == from_nothing
    assert write_index(STORAGE, output).read == 0
    assert content(output) == from_nothing


def test_rows_are_the_same_with_an_old_index_as_with_none(output: str) -> None:
    names = list_manifests(STORAGE, output)
    without = rows(output)
    write_index(STORAGE, output, names[:2] + names[4:])
    assert rows(output) == without
    (Path(output) / names[0].path).unlink()
    assert rows(output) == without[1:]


def test_a_manifest_that_was_written_again_is_read_again(output: str) -> None:
    write_index(STORAGE, output)
    name = list_manifests(STORAGE, output)[0]
    (manifest,) = read_named_manifests(STORAGE, output, [name])
    write_manifest(STORAGE, output, name, replace(manifest, frames=10_000_000))
    assert rows(output)[0]["frames"] == 10_000_000
    assert write_index(STORAGE, output).read == 1


@pytest.mark.parametrize("damage", ["empty", "rubbish", "second row group"])
def test_an_index_that_cannot_be_read_is_none(
    output: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    without = rows(output)
    write_index(STORAGE, output)
    whole = content(output)
    start = pq.read_metadata(Path(output) / INDEX).row_group(1).column(0).data_page_offset
    broken = whole[:start] + bytes(50) + whole[start + 50 :]
    contents = {"empty": b"", "rubbish": b"PAR1 and rubbish", "second row group": broken}
    (Path(output) / INDEX).write_bytes(contents[damage])
    assert rows(output) == without
    assert "`xytok index` writes it again" in caplog.text
    write_index(STORAGE, output)
    assert content(output) == whole


def test_it_holds_no_query_of_a_url(output: str) -> None:
    name = list_manifests(STORAGE, output)[0]
    (manifest,) = read_named_manifests(STORAGE, output, [name])
    signed = replace(manifest, url="https://me:pass@host/0.tar?signature=secret")
    write_manifest(STORAGE, output, name, signed)
    write_index(STORAGE, output)
    assert rows(output)[0]["url"] == "https://host/0.tar"


def test_a_manifest_that_cannot_be_read_is_named(output: str) -> None:
    name = list_manifests(STORAGE, output)[0]
    (Path(output) / name.path).write_bytes(b"{}")
    with pytest.raises(OutputError, match=r"Manifest `.*0\..*` cannot be read"):
        write_index(STORAGE, output)
    assert not (Path(output) / INDEX).exists()


def test_the_command_says_what_it_read(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(output) / "run.json").write_text(
        json.dumps({"identity": {}, "identity8": "", "provenance": {}, "tuning": {}})
    )
    for more, read in ([], 6), ([], 0), (["--rebuild"], 6):
        assert cli.run(["index", output, "--quiet", *more]) == 0
        assert f"6 shards in {INDEX}, " in (said := capsys.readouterr().out)
        assert f"; {read} manifests were read" in said
    assert cli.run(["index", str(Path(output).parent)]) == 2
    assert "holds no run" in capsys.readouterr().err
