"""The command's frame: help, versions, exit codes, completion."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from pipeline.errors import StorageError, UsageError

XYTOK = str(Path(sys.executable).with_name("xytok"))


def run_xytok(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([XYTOK, *arguments], capture_output=True, text=True, check=False)


def test_version_is_the_distribution_s():
    assert run_xytok("--version").stdout == f"xytok {importlib.metadata.version('xytok')}\n"


def test_help_lists_every_verb():
    out = run_xytok("-h").stdout
    assert set(re.findall(r"^    ([a-z-]+)\b", out, re.M)) == set(cli.JOBS)


@pytest.mark.parametrize("verb", sorted(cli.JOBS))
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.run([verb, "-h"])
    out = capsys.readouterr().out
    assert exit_.value.code == 0
    assert "example:\n  " in out
    assert f"xytok {verb}" in out.split("example:")[1]


@pytest.mark.parametrize("verb", sorted(cli.JOBS))
def test_the_example_of_every_verb_parses(verb):
    for line in cli.load_job(verb).EXAMPLE.splitlines():
        words = [word.strip("'\"") for word in line.split()]
        if "xytok" in words:
            start = words.index("xytok") + 1
            arguments = [word.rstrip(')"') for word in words[start:]]
            cli.build_parser([verb]).parse_args(arguments)


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["doctor", "--no-such-flag"]])
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.run(arguments)
    assert exit_.value.code == 2
    assert "usage: xytok" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "exit_code"), [(UsageError, 2), (StorageError, 1)])
def test_expected_errors_are_one_line_and_an_exit_code(error, exit_code, monkeypatch, capsys):
    def fail(_args: object) -> int:
        raise error("`x` is wrong; expected `y`; pass `y`")

    monkeypatch.setattr("jobs.completion_job.run", fail)
    assert cli.run(["completion", "bash"]) == exit_code
    assert capsys.readouterr().err == "xytok completion: `x` is wrong; expected `y`; pass `y`\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [(["doc"], "doctor"), (["doctor", "--wr"], "--write"), (["--ver"], "--version")],
)
def test_bash_completes_verbs_and_flags(typed, offered):
    words = " ".join(["xytok", *typed])
    script = (
        f"{run_xytok('completion', 'bash').stdout}\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _xytok; echo ${{COMPREPLY[@]}}"
    )
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_for_other_shells_names_every_verb(shell):
    script = run_xytok("completion", shell).stdout
    assert all(verb in script for verb in cli.JOBS)
