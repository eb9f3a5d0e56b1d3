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
        ("tokenize nowhere other --codec xy-nanoo", "`xy-nanoo` was not found; expected `xy-nano`"),
        ("tokenize nowhere other --codec fake --codec-option dept=4", "expected `depth`"),
        ("tokenize nowhere other --codec kyutai/mimi --codec-option dept=4", "expected `depth`"),
        ("tokenize nowhere other --codec kyutai/mimi --precision fast", "expected exact"),
        ("tokenize nowhere other --codec gss://b/codec", "protocol `gss`; expected `gs`"),
        (
            "tokenize nowhere other --codec xy-nano --codec-config no.yaml",
            "`no.yaml` does not exist",
        ),
        ("plan nowhere other --codec xy-nanoo", "expected `xy-nano`"),
        ("retry out --reason too_long --codec fakee", "expected `fake`"),
        ("encode nofile.wav -o new --codec xy-nanoo", "`nofile.wav` does not exist"),
        ("evaluate --codec fake --codec xy-nanoo --data nowhere -o new", "expected `xy-nano`"),
        ("submit nowhere other --codec xy-nanoo --cluster http://x:1", "expected `xy-nano`"),
        ("export out new --to jsonll", "expected `jsonl`"),
        ("tokenize @nolist new --codec fake", "`nolist` found nothing there"),
        ("tokenize odd.json new --codec fake", "line 1 is no JSON"),
        ("tokenize in/EN text --codec fake --engine inline", "name another path"),
        ("tokenize in/EN text/new --codec fake --engine inline", "name another path"),
        ("tokenize in/EN out/tokens/new --codec fake", "out/tokens/`, where the output"),
        ("tokenize in/EN out/events --codec fake", "in no other output; name another"),
        ("plan in/EN out/manifests/a/b --codec fake", "in no other output; name another"),
        ("tokenize nosuch://a/*.tar new --codec fake", "has the protocol `nosuch`"),
        ("tokenize in/EN nosuch://a --codec fake", "has the protocol `nosuch`"),
        *((f"{verb} nowhere", "holds no run") for verb in ("status", "verify", "card", "index")),
        *((f"{verb} text", "holds no run") for verb in ("status", "verify", "card", "index")),
        ("status nowhere --watch", "holds no run"),
        ("audit nowhere", "holds no run"),
        ("audit out --shard nosuch", "no finished shard that fits `--shard`"),
        ("show nowhere key", "holds no parts"),
        ("show out nosuch", "No row has the key `nosuch`"),
        ("show out nosuch --wav a.wav --original ./a.wav", "name the same file"),
        ("show out EN_a_0000 --wav a.mp3 --original a", "name the same file"),
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


def test_a_misspelt_codec_is_refused_before_anything_is_listed_or_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert cli.run(["tokenize", "in/EN", "new", "--codec", "xy-nanoo"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("xytok tokenize: Codec `xy-nanoo` was not found; expected `xy-nano`, ")
    assert not (folder / "new").exists()


def test_paths_of_a_codec_may_be_those_of_the_clusters_machines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = ["plan", "in/EN", "new", "--codec-config", "/cluster/codec.yaml", "--codec"]
    assert cli.run([*words, "/cluster/codec.ckpt"]) == 0
    assert cli.run([*words, "fdugyt/XY_Tokenizer"]) == 0


def test_a_repository_that_is_much_like_a_release_is_doubted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert cli.run(["plan", "nowhere", "new", "--codec", "fdugyt/XY_Tokenzer"]) == 2
    assert "the one most like it is `fdugyt/XY_Tokenizer`" in capsys.readouterr().err
