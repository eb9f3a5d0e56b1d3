"""`--config` holds the options of a run for every command that takes them; flags win."""

import json
from pathlib import Path

import pytest

from jobs import cli
from jobs.run_config import expand_config
from pipeline.fleet.ray import submission as ray_submission


def write_config(folder: Path, text: str) -> str:
    (folder / "run.yaml").write_text(text)
    return str(folder / "run.yaml")


def test_tokenize_fills_options_and_flags_win(corpus: Path) -> None:
    config = write_config(corpus, "codec: fake\nwhere: dnsmos > 9\nlimit: 2\nengine: inline\n")
    words = ["tokenize", str(corpus / "in"), str(corpus / "out"), "--quiet", "--config", config]
    assert cli.run([*words, "--where", "dnsmos > 3"]) == 0
    identity = json.loads((corpus / "out/run.json").read_text())["identity"]
    assert (identity["where"], identity["limit"]) == ("dnsmos > 3", 2)


def test_a_flag_wins_even_with_its_default(tmp_path: Path) -> None:
    config = write_config(tmp_path, "precision: fast\nrequire_json: true\nquiet: false\n")
    words = expand_config(["in", "out", f"--config={config}", "--precision", "exact"])
    assert words == ["--precision=fast", "--require-json", "in", "out", "--precision", "exact"]


def test_plan_follows_the_config(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(corpus, "max-shards: 1\n")
    words = ["plan", str(corpus / "in"), str(corpus / "out"), "--json", "--config", config]
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == 1


def test_submit_sends_the_options_and_not_the_file(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[ray_submission.Submission] = []

    def keep(cluster: str | None, submission: ray_submission.Submission, write: object) -> int:
        sent.append(submission)
        return 0

    monkeypatch.setattr(ray_submission, "submit", keep)
    config = write_config(corpus, "limit: 2\n")
    assert cli.run(["submit", "--", "in", "out", "--config", config, "--codec", "fake"]) == 0
    assert sent[0].arguments == ("--limit=2", "in", "out", "--codec", "fake")


@pytest.mark.parametrize(
    "words",
    [
        ["s3://a/x.tar", "out", "--storage-options", "{key: hush}"],
        ["s3://k:hush@a", "out"],
        ["s3://a/x.tar", "out", "--codec", "s3://k:hush@a/codec"],
    ],
)
def test_submit_sends_no_secret(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["submit", "--", *words]) == 2
    assert "hush" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [("wher: x", "wher"), ("- limit", "holds a list"), ("a: [", "cannot be read")],
)
@pytest.mark.parametrize("verb", ["tokenize", "plan"])
def test_a_wrong_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str, verb: str
) -> None:
    assert cli.run([verb, "in", "out", "--config", write_config(tmp_path, text)]) == 2
    assert said in capsys.readouterr().err


def test_a_value_of_the_wrong_type_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.run(["plan", "in", "out", "--config", write_config(tmp_path, "limit: many")])
    assert "invalid int value: 'many'" in capsys.readouterr().err
