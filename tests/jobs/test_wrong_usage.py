"""Wrong usage of every verb ends with exit code 2 and says what was expected."""

from pathlib import Path

import pytest

from jobs import cli
from tests.support.export_run import make_export_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run `out`, its input `in`, and a file `text` that is nothing of ours."""
    made = make_export_run(tmp_path_factory.mktemp("usage")).parent
    (made / "text").write_text("hello")
    (made / "odd.json").write_text("{")
    return made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tokenize in/EN other --codec nosuch --engine inline", "Codec `nosuch` was not found"),
        ("tokenize @nolist new --codec fake", "`nolist` found nothing there"),
        ("tokenize odd.json new --codec fake", "line 1 is no JSON"),
        ("tokenize in/EN text --codec fake --engine inline", "name another path"),
        ("tokenize in/EN text/new --codec fake --engine inline", "name another path"),
        ("tokenize nosuch://a/*.tar new --codec fake", "has the protocol `nosuch`"),
        ("tokenize in/EN nosuch://a --codec fake", "has the protocol `nosuch`"),
        *((f"{verb} nowhere", "holds no run") for verb in ("status", "verify", "card", "index")),
        *((f"{verb} text", "holds no run") for verb in ("status", "verify", "card", "index")),
        ("audit nowhere", "holds no run"),
        ("audit out --shard nosuch", "no finished shard that fits `--shard`"),
        ("show nowhere key", "holds no parts"),
        ("show out nosuch", "No row has the key `nosuch`"),
        ("drop nowhere --keys a --reason b", "holds no run"),
        ("retry nowhere --reason too_long", "holds no run"),
        ("merge nowhere new", "holds no run"),
        ("merge out new --keep nofile", "`nofile` found nothing there"),
        ("export nowhere new --to jsonl", "holds no run"),
        ("export out text --to jsonl", "name another path"),
        ("export out new --to jsonl --keep text", "`text` is no Parquet file"),
        ("export out new --to flat --template orpheus --tokenizer nofile", "found nothing there"),
        ("card out --output nowhere/card.md", "`nowhere/card.md` cannot be used"),
        ("encode nofile.wav -o new", "nofile.wav"),
        ("decode nofile.npy -o new", "nofile.npy"),
        ("score nofile.wav nofile.wav", "nofile.wav"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    words: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    code = cli.run(words.split())
    assert message in capsys.readouterr().err
    assert code == 2
    assert not (folder / "new").exists()
