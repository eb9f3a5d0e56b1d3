"""`xytok codecs` prints the whole catalogue."""

import json

import pytest

from jobs import cli
from xy_codec.catalogue import families


def test_every_release_is_listed_with_its_rates(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["codecs"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "XY-Tokenizer: packed, precision exact or fast, options compile_cache, depth"
    )
    for family in families():
        for release in family.releases:
            (row,) = {
                line
                for line in printed.splitlines()
                if line.split()[:1] == [release.source] and release.note in line
                and f"→ {release.shape.output_rate_hz}" in line
            }  # fmt: skip
            assert f"{release.shape.bits_per_second:,.0f}" in row
            assert release.licence in row


def test_releases_of_one_name_come_with_the_way_to_pick_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["codecs"]) == 0
    printed = capsys.readouterr().out
    assert "Of the 2 in `qiangchunyu/SecoustiCodec` a file picks one: `hf download" in printed
    assert printed.count("a file picks one") == 2


def test_the_json_has_every_release_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["codecs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == sum(len(family.releases) for family in families())
    mimi = next(row for row in rows if row["codec"] == "kyutai/mimi")
    assert (mimi["codebook_sizes"], mimi["semantic_codebooks"]) == ([2048] * 32, [0])
    assert (mimi["company"], mimi["bits_per_second"]) == ("alone", 4400.0)
