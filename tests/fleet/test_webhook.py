"""`--webhook` tells how a run ended and that it stands still, and its URL is shown to nobody."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from pipeline.errors import UsageError
from pipeline.fleet import webhook
from pipeline.fleet.live_progress import LiveProgress
from pipeline.fleet.webhook import Webhook, read_webhook
from tests.support.shard_maker import pairs, write_shard

SECRET = "hush-4711"


class Receiver:
    """An HTTP server that keeps what is posted to it, or fails."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.gate.wait(30)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}?token={SECRET}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.gate.set()
    receiver.server.shutdown()
    receiver.server.server_close()


def tokenize(folder: Path, *more: str) -> int:
    write_shard(folder / "in/a.tar", [*pairs(4, 0.5), ("x.json", b"{}"), ("x.mp3", b"no audio")])
    words = ["tokenize", str(folder / "in"), str(folder / "out"), "--codec", "fake"]
    return cli.run([*words, "--engine", "inline", *more])


def test_a_run_that_ends_tells_its_totals_and_keeps_the_url_to_itself(
    receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert tokenize(tmp_path, "--webhook", receiver.url, "--verbose", "--log-file", str(log)) == 0
    (message,) = receiver.messages
    assert (message["kind"], message["error"]) == ("end", None)
    assert message["output"] == str(tmp_path / "out")
    totals = message["totals"]
    assert (totals["done"], totals["left"], totals["failed"], totals["codes"]) == (1, 0, 0, 4)
    assert totals["rejects"] == {"undecodable": 1}
    shown = capfd.readouterr()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    texts = [shown.out.encode(), shown.err.encode(), *files]
    assert not any(SECRET.encode() in text for text in texts)


def test_a_run_that_fails_tells_why(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(receiver.url + "\n")
    assert tokenize(tmp_path, "--webhook", f"@{tmp_path}/url", "--max-reject-rate", "0.1") != 0
    (message,) = receiver.messages
    assert message["kind"] == "failure"
    assert message["error"].startswith("20.0% of the clips so far are rejects")


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_fails_is_only_a_warning(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.status = status
    with caplog.at_level(logging.WARNING), Webhook(receiver.url, str(tmp_path), 60.0):
        pass
    assert f"did not take the message `end` (HTTPError {status})" in caplog.text
    assert SECRET not in caplog.text
    assert len(receiver.messages) == 1


def test_a_webhook_that_does_not_answer_is_waited_for_once(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_LIMIT_SECONDS", 0.2)
    receiver.gate.clear()
    with Webhook(receiver.url, str(tmp_path), 60.0):
        pass
    assert receiver.messages == []


def test_standing_still_and_outages_are_told_once_a_while(receiver: Receiver) -> None:
    told = LiveProgress(()).read({}, {}, nodes_aside=0, outage_seconds=0.0)
    with Webhook(receiver.url, "s3://user:hush@bucket/out", 60.0) as hook:
        for seconds in range(200):
            # It works for 50 seconds, stands still for 70, works, and loses its storage at 190.
            steps = seconds if seconds < 50 else 50 if seconds < 120 else seconds
            outage = max(0.0, seconds - 189.0)
            hook.show(replace(told, seconds=seconds, steps=steps, outage_seconds=outage))
    kinds = [(message["kind"], message["error"]) for message in receiver.messages]
    assert kinds == [
        ("stall", "no worker made a step for 1 minutes"),
        ("stall", "storage does not answer for 1 s; the run pauses"),
        ("end", None),
    ]
    assert receiver.messages[0]["output"] == "s3://bucket/out"


def test_errors_are_told_without_secrets_of_urls(receiver: Receiver) -> None:
    def fail() -> None:
        with Webhook(receiver.url, "s3://b/out", 60.0):
            raise UsageError(f"`https://u:{SECRET}@host/a?sig={SECRET}` and {receiver.url} failed")

    with pytest.raises(UsageError):
        fail()
    assert receiver.messages[0]["error"].startswith("`https://host/a` and http://127.0.0.1")
    assert f"sig={SECRET}" not in receiver.messages[0]["error"]


def test_a_wrong_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no URL") as caught:
        read_webhook(f"ftp://{SECRET}")
    assert SECRET not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_webhook(f"@{tmp_path}/none")


def test_submit_takes_no_url_that_the_job_api_would_show(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["submit", "/in", "/out", "--codec", "fake", "--cluster", "http://127.0.0.1:1"]
    assert cli.run([*words, "--webhook", f"https://host/{SECRET}"]) == 2
    error = capsys.readouterr().err
    assert "expected `@FILE`" in error
    assert SECRET not in error
