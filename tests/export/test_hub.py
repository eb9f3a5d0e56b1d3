"""A Parquet export goes to a hub whole, with a card that names its splits."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.errors import RefusedError, UsageError
from pipeline.export.hub import check_push, push_to_hub
from pipeline.export.selection import Selection
from tests.support.export_run import export, files_in
from tests.support.hub_server import hub_server


def test_files_and_card_arrive_in_one_commit(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    from datasets import load_dataset

    monkeypatch.setenv("HF_TOKEN", "hf_word")
    record = export(
        run, tmp_path / "out", "parquet", selection=Selection(split="train=0.5,dev=0.5")
    )
    with hub_server() as hub:
        url = push_to_hub(
            record,
            str(tmp_path / "out"),
            "somebody/codes",
            licence="cc-by-4.0",
            title="Codes",
            endpoint=hub.url,
        )
    assert url.endswith("a" * 40)
    assert hub.created[0]["type"] == "dataset"
    assert hub.tokens == {"Bearer hf_word"}
    card = hub.files.pop("README.md").decode()
    assert hub.files == files_in(tmp_path / "out")
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "cc-by-4.0"
    # What a reader of the repository does with the files and the card.
    folder = tmp_path / "repository"
    shutil.copytree(tmp_path / "out", folder)
    (folder / "README.md").write_text(card)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    counts = {name: split.num_rows for name, split in loaded.items()}
    assert counts == {name: split.clips for name, split in record.splits.items()}


def test_a_hub_that_refuses_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_word")
    record = export(run, tmp_path / "out", "parquet")
    with hub_server() as hub:
        hub.refuses = True
        with pytest.raises(RefusedError, match="`somebody/codes` could not be written"):
            push_to_hub(
                record,
                str(tmp_path / "out"),
                "somebody/codes",
                licence="other",
                title="Codes",
                endpoint=hub.url,
            )


def test_only_parquet_on_this_machine_is_pushed() -> None:
    with pytest.raises(UsageError, match="expected `--to parquet`"):
        check_push("jsonl", "out")
    with pytest.raises(UsageError, match="expected a local folder"):
        check_push("parquet", "s3://bucket/out")
