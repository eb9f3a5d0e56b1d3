"""A dataset card: what hubs read, what people read, and a snippet that runs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import xytok
from pipeline.inspect.card import make_card, size_category
from pipeline.output.index import INDEX
from pipeline.output.schema import part_schema
from tests.support.shard_maker import audio, pair, pairs, write_shard
from xy_codec.fake import FAKES


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three English clips of one speaker, two French ones of two, and one without a JSON."""
    folder = tmp_path_factory.mktemp("card")
    french = [*pair("a", language="fr", speaker="F1"), *pair("b", language="fr", speaker="F2")]
    nobody = ("c.mp3", audio())
    write_shard(folder / "in/1.tar", pairs(3))
    write_shard(folder / "in/2.tar", [*french, nobody, ("bad.mp3", b"not audio")])
    xytok.tokenize(folder / "in", folder / "out", codec="fake", engine="inline", quiet=True)
    return folder / "out"


@pytest.fixture(scope="module")
def card(output: Path) -> str:
    return make_card(str(output), xytok.Storage(), licence="cc-by-4.0", title="Tiny: a trial")


def test_hubs_read_its_header(card: str) -> None:
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "license": "cc-by-4.0",
        "pretty_name": "Tiny: a trial",
        "language": ["en", "fr"],
        "task_categories": ["text-to-speech"],
        "size_categories": ["n<1K"],
        "configs": [{"config_name": "default", "data_files": "tokens/**/*.parquet"}],
    }


def test_people_read_languages_speakers_codec_and_columns(card: str) -> None:
    lines = card.splitlines()
    assert "# Tiny: a trial" in lines
    assert "2 languages, 3 speakers (one who is in several shards counts in each)." in lines
    assert "- Codes: 8 codebooks of 1,024, 12.5 frames a second" in lines
    assert [line for line in lines if line.endswith(" 0.00 |")] == [
        "| en | 3 | 0.00 |",
        "| fr | 2 | 0.00 |",
        "| unknown | 1 | 0.00 |",
    ]
    rows = {line.split("|")[1].strip(" `"): line for line in lines if line.startswith("| `")}
    assert list(rows) == part_schema(FAKES["fake"]).names
    codes = "`codes[k][t]` is codebook k at frame t: no special tokens, no offsets, no delay"
    assert rows["codes"] == f"| `codes` | list of 8 lists of int16, one per codebook | {codes} |"
    assert rows["speaker"] == "| `speaker` | string, may be null | of the JSON |"
    assert all(meaning.strip() for meaning in (row.split("|")[3] for row in rows.values()))


def test_it_is_the_same_where_an_older_version_wrote_the_manifests(
    card: str, output: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(output, tmp_path / "older")
    (older / INDEX).unlink()
    for path in older.glob("manifests/**/*.json"):
        manifest = json.loads(path.read_text())
        assert manifest.pop("key_range")
        assert manifest.pop("languages")
        path.write_text(json.dumps(manifest))
    made = make_card(str(older), xytok.Storage(), licence="cc-by-4.0", title="Tiny: a trial")
    assert made == card


def test_its_snippet_reads_the_codes(
    card: str, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippet = card.split("```python\n")[1].split("```")[0]
    assert "num_codebooks=8" in snippet
    (output.parent / "OUT").symlink_to(output)
    monkeypatch.chdir(output.parent)
    exec(snippet)
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("clips", "size"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (37_000_000, "10M<n<100M"),
        (2_000_000_000, "1B<n<10B"),
    ],
)
def test_its_size_is_named_as_hubs_do(clips: int, size: str) -> None:
    assert size_category(clips) == size
