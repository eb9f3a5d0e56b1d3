"""`--config` holds the options of a run for every command that takes them; flags win."""

import json
from pathlib import Path

import pytest

from jobs import cli
from jobs.run_options import RunOptions
from pipeline.fleet.ray import submission as ray_submission
from tests.support.readme_blocks import read_blocks


def write_config(folder: Path, text: str) -> str:
    (folder / "run.yaml").write_text(text)
    return str(folder / "run.yaml")


def options_of(*words: str) -> RunOptions:
    _, bound, _ = cli.APP.parse_args(["tokenize", *words])
    options: RunOptions = bound.arguments["options"]
    return options


def test_tokenize_fills_options_and_flags_win(corpus: Path) -> None:
    config = write_config(corpus, "codec: fake\nwhere: dnsmos > 9\nlimit: 2\nengine: inline\n")
    words = ["tokenize", str(corpus / "in"), str(corpus / "out"), "--quiet", "--config", config]
    assert cli.run([*words, "--where", "dnsmos > 3"]) == 0
    identity = json.loads((corpus / "out/run.json").read_text())["identity"]
    assert (identity["where"], identity["limit"]) == ("dnsmos > 3", 2)


def test_a_config_alone_says_everything(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = corpus / "in", corpus / "out"
    text = f"inputs: [{folder}]\noutput: {output}\ncodec: fake\nengine: inline\njson: true\n"
    assert cli.run(["tokenize", "--config", write_config(corpus, text + "quiet: true\n")]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["shards"] > 0
    assert said.err == ""
    assert (output / "run.json").exists()


def test_a_log_file_holds_the_summary_that_is_printed(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tokenize", str(corpus / "in"), str(corpus / "out"), "--codec", "fake"]
    log = corpus / "log"
    assert cli.run([*words, "--engine", "inline", "-v", "--log-file", str(log)]) == 0
    said = capsys.readouterr()
    marked = [line for line in log.read_text().splitlines() if " jobs.result: " in line]
    assert [line.split(" jobs.result: ")[1] for line in marked] == said.out.splitlines()
    assert said.out.splitlines()[0] not in said.err


def test_a_config_says_the_same_as_flags(tmp_path: Path) -> None:
    text = """
        inputs: [a.tar, b.tar]
        output: out
        codec: fake
        codec-config: codec.yaml
        precision: fast
        codec_option: [overlap_seconds=5]
        compile: true
        require-json: true
        max-member-bytes: 3MiB
        max-clip-seconds: 1e2
        workers: auto
        cluster: head:6379
        max-reject-rate: 0.25
        tuning: null
    """
    words = "a.tar b.tar out --codec fake --codec-config codec.yaml --precision fast --compile"
    words += (
        " --codec-option overlap_seconds=5 --require-json --max-member-bytes 3145728 --workers auto"
    )
    words += " --max-clip-seconds 100 --cluster head:6379 --max-reject-rate 0.25"
    by_flags = options_of(*words.split())
    by_config = options_of("--config", write_config(tmp_path, text))
    assert by_config.paths() == by_flags.paths() == (("a.tar", "b.tar"), "out")
    for group in ("codec", "rules", "ray", "max_reject_rate", "tuning"):
        assert getattr(by_config, group) == getattr(by_flags, group)


def test_the_config_of_the_readme_is_understood(tmp_path: Path) -> None:
    [block] = [block for block in read_blocks() if block.language == "yaml"]
    options = options_of("--config", write_config(tmp_path, block.text))
    assert options.paths() == (
        ("s3://bucket/Emilia/EN/*.tar", "s3://bucket/Emilia/DE/*.tar"),
        "s3://bucket/codes",
    )
    assert (options.rules.require_json, options.ray.workers) == (True, 64)


def test_a_flag_turns_off_what_the_config_turned_on(tmp_path: Path) -> None:
    config = write_config(tmp_path, "require_json: true\nprecision: fast\ncompile: true\n")
    words = ("in", "out", "--codec", "fake", "--config", config)
    assert options_of(*words).rules.require_json
    options = options_of(*words, "--no-require-json", "--precision", "exact", "--no-compile")
    assert not options.rules.require_json
    assert (options.codec.precision, options.codec.compiled) == ("exact", False)


def test_paths_of_the_command_line_win(tmp_path: Path) -> None:
    config = write_config(tmp_path, "inputs: [a.tar]\noutput: out\ncodec: fake\n")
    assert options_of("--config", config, "b.tar").paths() == (("b.tar",), "out")
    assert options_of("--config", config, "-o", "other").paths() == (("a.tar",), "other")


def test_plan_follows_the_config(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(corpus, "max-shards: 1\ncodec: fake\n")
    words = ["plan", str(corpus / "in"), str(corpus / "out"), "--json", "--config", config]
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == 1


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, ray_submission.Submission]]:
    """What `xytok submit` would have sent, and where to."""
    kept: list[tuple[str | None, ray_submission.Submission]] = []

    def keep(cluster: str | None, submission: ray_submission.Submission, write: object) -> int:
        kept.append((cluster, submission))
        return 0

    monkeypatch.setattr(ray_submission, "submit", keep)
    return kept


def test_submit_sends_the_options_and_not_the_file(
    corpus: Path, sent: list[tuple[str | None, ray_submission.Submission]]
) -> None:
    config = write_config(corpus, "limit: 2\nrequire-json: true\noutput: /out\n")
    words = ["submit", "/in", "--config", config, "--codec", "fake", "--workers", "3"]
    words += ["--cluster", "http://head:8265", "--max-reject-rate", "0.1", "--no-wait", "--json"]
    assert cli.run(words) == 0
    [(cluster, submission)] = sent
    assert (cluster, submission.wait) == ("http://head:8265", False)
    assert sorted(submission.arguments) == [
        "--codec=fake",
        "--json",
        "--limit=2",
        "--max-reject-rate=0.1",
        "--output=/out",
        "--require-json",
        "--workers=3",
        "/in",
    ]


def test_what_submit_sends_parses_to_the_same_options(
    sent: list[tuple[str | None, ray_submission.Submission]],
) -> None:
    words = "/a /b --codec xy-nano --where x>1 --max-member-bytes 5MiB --compile --decode-threads 2"
    assert cli.run(["submit", *words.split()]) == 0
    assert options_of(*sent[0][1].arguments) == options_of(*words.split())


@pytest.mark.parametrize(
    "words",
    [
        ["s3://a/x.tar", "out", "--codec", "fake", "--storage-options", "{key: hush}"],
        ["s3://k:hush@a", "out", "--codec", "fake"],
        ["s3://a/x.tar", "out", "--codec", "s3://k:hush@a/codec"],
    ],
)
def test_submit_sends_no_secret(
    words: list[str],
    sent: list[tuple[str | None, ray_submission.Submission]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["submit", *words]) == 2
    assert "hush" not in capsys.readouterr().err
    assert not sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "wher: x\nlimt: 3",
            "has the unknown option `limt`; expected `limit`; the unknown option `wher`; expected",
        ),
        ("config: other.yaml", "the unknown option `config`"),
        ("- limit", "holds a list"),
        ("", "holds nothing; expected a YAML mapping"),
        ("limit: 1\na: [", "cannot be read (line 2, column 5: "),
        (
            "require-json: true\nno-require-json: true",
            "has `require-json` and `no-require-json`; expected one of them",
        ),
        ("limit: many\nmax-shards: 0", "`--limit many` in `"),
        ("limit: many\nmax-shards: 0", "`--max-shards 0` in `"),
        ("limit: [1, 2]", "--limit"),
    ],
)
@pytest.mark.parametrize("verb", ["tokenize", "plan", "submit"])
def test_a_wrong_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str, verb: str
) -> None:
    words = [verb, "in", "out", "--codec", "fake", "--config", write_config(tmp_path, text)]
    assert cli.run(words) == 2
    assert said in capsys.readouterr().err


def test_a_config_that_is_missing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "in", "out", "--codec", "fake", "--config", "nowhere.yaml"]) == 2
    said = "`--config nowhere.yaml` cannot be read (it does not exist); expected a YAML mapping"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["tokenize", "plan"])
def test_inline_refuses_the_options_of_ray(
    verb: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [verb, str(corpus / "in"), str(corpus / "out"), "--codec", "fake"]
    words += ["--engine", "inline", "--workers", "2", "--gpus-per-worker", "0.5"]
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert "`--engine inline` cannot use `--workers`, `--gpus-per-worker`; expected" in said
    assert not (corpus / "out").exists()
