"""The command's frame: help, versions, exit codes, completion."""

import importlib.metadata
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from jobs.logs import LogOptions
from pipeline.errors import (
    DamageError,
    DrainedError,
    IdentityError,
    RejectRateError,
    StorageError,
    UsageError,
)
from tests.support.shard_maker import pairs, write_shard
from xy_codec.errors import CheckpointError, ConfigError

XYTOK = str(Path(sys.executable).with_name("xytok"))


def run_xytok(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([XYTOK, *arguments], capture_output=True, text=True, check=False)


def test_version_is_the_distribution_s():
    assert run_xytok("--version").stdout == f"xytok {importlib.metadata.version('xytok')}\n"


def test_help_lists_every_verb():
    out = run_xytok("-h").stdout
    assert set(re.findall(r"^  ([a-z][a-z-]+): [A-Z]", out, re.M)) == set(cli.VERBS)


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_has_help_with_an_example_and_the_log_options(verb, capsys):
    assert cli.run([verb, "-h"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  {cli.VERBS[verb].example[:40]}" in out
    assert all(
        flag in out for flag in ("--verbose, -v", "--quiet, -q", "--log-level", "--log-file")
    )


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_fits_80_columns_and_its_example_can_be_copied(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run([verb, "-h"]) == 0
    entries, example = capsys.readouterr().out.split("\nexample:\n")
    assert max(map(len, entries.splitlines())) <= 80
    # Every entry begins with its flag, and its other lines stand deeper.
    starts = re.findall(r"^(?:\S| {1,3}\S).*", entries.split("\n\n", 2)[2], re.M)
    assert all(re.match(r"  [A-Z-][^:]*: |[A-Z][^:]+:$", line) for line in starts)
    words = shlex.split(example.replace("\\\n", ""))
    assert words == shlex.split(cli.VERBS[verb].example)


def test_help_tells_a_default_of_zero(capsys):
    assert cli.run(["audit", "-h"]) == 0
    assert "--seed INT: another seed gives another sample. [default: 0]" in capsys.readouterr().out


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_the_example_of_every_verb_parses(verb):
    words = shlex.split(cli.VERBS[verb].example.removeprefix("eval ").strip('"$()'))
    command, _, _ = cli.APP.parse_args(words[1:])
    assert command.__module__ == f"jobs.{verb.replace('-', '_')}_job"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tokeniz"], "`tokeniz` is no command; expected `tokenize`; see `xytok -h`"),
        (["--versio"], "`--versio` is no command; expected a known one; see `xytok -h`"),
        (["doctor", "--writ"], "`--writ` is no option; expected `--write`; see `xytok doctor -h`"),
        (["plan", "in", "out"], "`--codec` is missing; expected a released checkpoint; name one"),
        (["plan", "in", "out", "--codec", "fake", "--limit"], "`--limit` has no value; expected"),
        (["show", "out"], "`KEY` is missing; expected the name of the clip in its shard; see"),
        (["compare", "a", "b", "--seed", "x"], "`--seed x`; expected a whole number; see"),
        (["bench", "--hours", "x"], "`--hours x`; expected a number; see `xytok bench -h`"),
        (["audit", "out", "--engine", "rey"], "`--engine rey`; expected `inline` or `ray`; see"),
        (
            ["plan", "in", "out", "--codec", "fake", "--max-member-bytes", "12XB"],
            "`--max-member-bytes 12XB`; expected bytes, or e.g. `512MiB`; see",
        ),
        (
            ["plan", "in", "out", "--codec", "fake", "--max-member-bytes", "many"],
            "`--max-member-bytes many`; expected bytes, or e.g. `512MiB`; see",
        ),
        (
            ["status", "out", "--limit", "3"],
            "`--limit` is no option; expected one of --json, --storage-options, --watch; see",
        ),
        (
            ["status", "out", "--where", "x"],
            "expected one of --json, --storage-options, --watch; see",
        ),
        (["status", "out", "--verbos"], "`--verbos` is no option; expected `--verbose`; see"),
        (["status", "out", "more"], "`more` is more than expected"),
    ],
)
def test_wrong_usage_is_told_with_what_was_expected(arguments, said, capsys):
    assert cli.run(arguments) == 2
    assert said in capsys.readouterr().err


def test_no_command_shows_the_help_and_is_wrong_usage(capsys):
    assert cli.run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_all_wrong_options_are_told_at_once(capsys):
    words = ["--limit", "0", "--workers", "two", "--precision", "exat", "--where", "dnsmos +"]
    assert cli.run(["tokenize", "in", "out", "--codec", "fake", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("`")[1] for line in lines[1:-1]] == [
        "--precision exat",
        "--where 'dnsmos +'",
        "--limit 0",
        "--workers two",
    ]


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        (["tokenize", "in", "out", "--codec", "fake", "--address", "x"], "--cluster"),
        (["tokenize", "in", "out", "--codec", "fake", "--profile", "x"], "--tuning"),
        (["encode", "a.wav", "-o", "x", "--overlap", "1"], "--codec-option"),
        (["encode", "a.wav", "-o", "x", "--config", "x"], "--codec-config"),
        (["bench", "--config", "x"], "--codec-config"),
        (["bench", "--profile", "x"], "--save-tuning"),
        (["bench", "--gpu-speed", "1"], "--speed"),
        (["bench", "--threads", "1"], "--torch-threads"),
        (["audit", "out", "--report", "x"], "--output"),
        (["audit", "out", "--shards", "x"], "--shard"),
        (["compare", "a", "b", "--clips", "x"], "--inputs"),
        (["card", "out", "--save", "x"], "--output"),
        (["train", "--recipe", "x", "--out", "x"], "--output"),
        (["train", "--config", "x", "--output", "x"], "--recipe"),
    ],
)
def test_an_old_word_is_answered_with_the_new_one(arguments, new, capsys):
    assert cli.run(arguments) == 2
    assert f"is no option; expected `{new}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (UsageError, 2),
        (ConfigError, 2),
        (IdentityError, 2),
        (CheckpointError, 1),
        (StorageError, 1),
        (RejectRateError, 1),
        (DamageError, 3),
        (DrainedError, 143),
    ],
)
def test_expected_errors_are_one_line_and_an_exit_code(error, exit_code, monkeypatch, capsys):
    def fail(*_: object) -> int:
        raise error("`x` is wrong; expected `y`; pass `y`")

    monkeypatch.setattr("pipeline.inspect.status.read_status", fail)
    assert cli.run(["status", "out"]) == exit_code
    assert capsys.readouterr().err == "xytok status: `x` is wrong; expected `y`; pass `y`\n"


def test_an_option_that_the_codec_refuses_is_wrong_usage(tmp_path, capsys):
    write_shard(tmp_path / "in" / "a.tar", pairs(1))
    words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "xy-nano"]
    assert cli.run([*words, "--engine", "inline", "--codec-option", "depth=99"]) == 2
    assert "Option `depth` is 99; expected 1 to" in capsys.readouterr().err


@pytest.fixture(scope="module")
def bash_script():
    return run_xytok("completion", "bash").stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["doc"], "doctor"),
        (["doctor", "--wr"], "--write"),
        (["--ver"], "--version"),
        (["tokenize", "--precision", "ex"], "exact"),
    ],
)
def test_bash_completes_verbs_flags_and_values(bash_script, typed, offered):
    words = " ".join(["xytok", *typed])
    script = (
        f"{bash_script}\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _xytok; echo ${{COMPREPLY[@]}}"
    )
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_for_other_shells_names_every_verb_and_a_flag(shell, capsys):
    assert cli.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in cli.VERBS)
    assert "codec-option" in script
    assert shell != "zsh" or script.endswith("\ncompdef _cyclopts_xytok xytok\n")


def wait_for_status(monkeypatch, *words: str) -> int:
    """Run `status` with a pipeline that waits for something, and says so."""

    def read(*_: object) -> object:
        logging.getLogger("pipeline.somewhere").info("listing 3 shards")
        logging.getLogger("pipeline.somewhere").debug("listed one of them")
        logging.getLogger("somebody.else").info("not of interest")
        raise StorageError("`x` is gone; expected it there; look for it")

    monkeypatch.setattr("pipeline.inspect.status.read_status", read)
    return cli.run(["status", "out", *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), ["listing 3 shards"]),
        (("-v",), ["listing 3 shards", "listed one of them"]),
        (("--log-level", "debug"), ["listing 3 shards", "listed one of them"]),
        (("--quiet",), []),
        (("--quiet", "--log-level", "info"), ["listing 3 shards"]),
        (("--log-level", "warning"), []),
    ],
)
def test_waits_are_told_on_stderr_alone(words, told, monkeypatch, capsys):
    assert wait_for_status(monkeypatch, *words) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[:-1] == told
    assert said.out == ""


def test_a_log_file_gets_debug_lines_however_quiet_stderr_is(monkeypatch, capsys, tmp_path):
    for _ in range(2):
        wait_for_status(monkeypatch, "--quiet", "--log-file", str(tmp_path / "log"))
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == [
        "pipeline.somewhere: listing 3 shards",
        "pipeline.somewhere: listed one of them",
        "jobs.result: Ended by StorageError: `x` is gone; expected it there; look for it",
    ] * 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_verb_leaves_the_loggers_of_its_caller_alone(tmp_path):
    ours = logging.getLogger("pipeline")
    before = ours.level, list(logging.getLogger().handlers)
    assert cli.run(["status", str(tmp_path), "--log-level", "debug"]) == 2
    assert (ours.level, logging.getLogger().handlers) == before


def test_verbs_that_run_at_once_leave_the_loggers_as_they_were():
    ours = logging.getLogger("pipeline")
    before = ours.level
    first, second = (LogOptions(log_level=level).handlers() for level in ("error", "debug"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert ours.level == before


@pytest.mark.parametrize("place", ["nowhere/x.log", "."])
def test_a_path_that_cannot_be_opened_is_one_line(place, tmp_path, capsys):
    path = tmp_path / place
    assert cli.run(["status", str(tmp_path), "--log-file", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"xytok status: `{path}` cannot be used (")
    assert "expected a path that can be read or written; check the path" in line


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    for name in ("a.wav", "file"):
        (tmp_path / name).write_bytes(b"")
    output = tmp_path / "file" / "codes"
    assert cli.run(["encode", str(tmp_path / "a.wav"), "-o", str(output)]) == 2
    assert f"xytok encode: `{output}` cannot be used (" in capsys.readouterr().err


def test_a_fault_that_names_no_file_keeps_its_traceback(monkeypatch):
    def fail(*_: object) -> int:
        raise OSError("a defect")

    monkeypatch.setattr("pipeline.inspect.status.read_status", fail)
    with pytest.raises(OSError, match="a defect"):
        cli.run(["status", "out"])


def test_help_before_a_verb_is_the_help_of_the_verb(capsys):
    assert cli.run(["help", "card"]) == 0
    asked_before = capsys.readouterr().out
    assert cli.run(["card", "-h"]) == 0
    assert asked_before == capsys.readouterr().out


# A command that holds a temporary folder, in place of a verb.
HOLDER = """
import tempfile, time
from jobs import cli

def hold(_):
    with tempfile.TemporaryDirectory():
        print("ready", flush=True)
        time.sleep(60)

cli.run = hold
cli.main()
"""


def test_sigterm_leaves_no_temporary_files(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        assert process.wait(timeout=30) == 143
    assert not list(tmp_path.iterdir())
