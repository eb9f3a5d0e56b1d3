"""`xytok submit` says which job server it needs or could not use."""

import os
from typing import Any

import pytest
from ray.exceptions import AuthenticationError

from jobs import cli

WORDS = ("submit", "s3://b/in", "s3://b/out", "--codec", "fake")


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_submit_without_an_address_contacts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def contact(_: str) -> None:
        raise AssertionError("contacted")

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", contact)
    assert cli.run(WORDS) == 2
    said = capsys.readouterr().err
    assert "`--cluster` is missing; expected the URL of the job server" in said


@pytest.mark.parametrize("source", ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "--cluster"])
def test_a_server_that_does_not_answer_is_named_with_its_source(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = "http://127.0.0.1:9"
    words = [*WORDS, "--cluster", silent] if source == "--cluster" else WORDS
    if source != "--cluster":
        monkeypatch.setenv(source, silent)
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert f"No Ray job server answers at `{silent}`, from `{source}`" in said
    assert f"check `{source}`" in said


def test_the_flag_wins_over_the_variables_and_leaves_them_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    seen: list[tuple[str, str | None]] = []

    def connect(address: str) -> None:
        seen.append((address, os.environ.get("RAY_ADDRESS")))
        raise ConnectionError

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", connect)
    assert cli.run([*WORDS, "--cluster", "http://head:8265"]) == 2
    # Ray's client would take the variable.
    assert seen == [("http://head:8265", None)]
    assert "at `http://head:8265`, from `--cluster`" in capsys.readouterr().err
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:9"


@pytest.mark.parametrize(("step", "code"), [("connect", 2), ("submit", 1)])
def test_a_server_that_wants_a_token_is_one_message(
    step: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Guarded:
        def __init__(self, _: str) -> None:
            if step == "connect":
                raise AuthenticationError("no token")

        def submit_job(self, **_: Any) -> str:
            raise AuthenticationError("no token")

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", Guarded)
    assert cli.run([*WORDS, "--cluster", "http://head:8265"]) == code
    said = capsys.readouterr().err
    assert "`http://head:8265`, from `--cluster`" in said
    assert "AuthenticationError" in said


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["in", "s3://b/out"], "in"),
        (["s3://b/in", "out"], "out"),
        (["@a.txt", "s3://b/o"], "a.txt"),
    ],
)
def test_paths_that_the_cluster_would_look_for_elsewhere_are_refused(
    paths: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["submit", *paths, "--codec", "fake", "--cluster", "http://127.0.0.1:9"]) == 2
    assert f"`{named}` is a relative path" in capsys.readouterr().err
