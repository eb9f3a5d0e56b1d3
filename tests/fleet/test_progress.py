"""Progress: a bar in a terminal and in a notebook, plain lines into a pipe, nothing when quiet."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from jobs import cli
from pipeline.fleet import progress
from pipeline.fleet.progress import show_progress

WIDGET = "application/vnd.jupyter.widget-view+json"
WORK = """
import xytok
xytok.tokenize({inputs!r}, {output!r}, codec="fake", engine="inline")
"""
WITHOUT_WIDGETS = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["ipywidgets"] = None
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_in_terminal(arguments: list[str]) -> str:
    """What `xytok` writes to stderr where that is a terminal of 160 columns."""
    command = [str(Path(sys.executable).with_name("xytok")), *arguments]
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (40, 160))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its):
        os.close(its)
        shown = b""
        try:
            while block := os.read(ours, 4096):
                shown += block
        except OSError:
            pass  # the other end is closed
        finally:
            os.close(ours)
    return shown.decode()


def run_in_notebook(code: str, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of a kernel that runs `code`, as a notebook page gets them."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    manager, client = start_new_kernel(cwd=Path(__file__).parents[2])
    messages: list[Any] = []
    try:
        reply = client.execute_interactive(code, output_hook=messages.append, timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply["content"]
    return messages


def test_a_run_in_a_terminal_draws_one_bar(corpus: Path) -> None:
    words = ["tokenize", str(corpus / "in"), str(corpus / "out"), "--codec", "fake"]
    shown = run_in_terminal([*words, "--engine", "inline"])
    last = shown.split("\r")[-2]
    assert re.search(r"100%\|█+\| [\d.]+kB?/[\d.]+kB? \[00:\d\d, left 00:00, ", last), shown
    for fact in ("3/3 shards", "0.00 h", "x real time", "0 rejects", "codec idle"):
        assert fact in last
    assert len([line for line in shown.split("\n") if "%|" in line]) == 1


def test_an_audit_draws_one_bar(corpus: Path) -> None:
    words = [str(corpus / "in"), str(corpus / "out"), "--codec", "fake", "--engine", "inline"]
    assert cli.run(["tokenize", *words, "--quiet"]) == 0
    audit = ["audit", str(corpus / "out"), "--metrics", "acoustics", "--processes", "0"]
    shown = run_in_terminal(audit)
    assert re.search(r"100%\|█+\| 3/3 \[.*(shards/s|s/ shards), 12 clips\]", shown), shown
    assert len([line for line in shown.split("\n") if "%|" in line]) == 1


def test_a_pipe_gets_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST_LINE_SECONDS", 0.2)
    stream = io.StringIO()
    with show_progress(40, "B", stream=stream) as show:
        show(10, "3 shards")
        while not stream.getvalue():
            pass
    (line, *_) = stream.getvalue().splitlines()
    assert re.fullmatch(r"25% in 00:0\d, left 00:0\d, 3 shards", line)
    assert "\r" not in stream.getvalue()


def test_short_work_writes_nothing_into_a_pipe() -> None:
    stream = io.StringIO()
    with show_progress(40, "B", stream=stream) as show:
        show(40, "3 shards")
    assert stream.getvalue() == ""


def test_a_bar_moves_on_while_nothing_gets_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_SECONDS", 0.1)
    stream = Terminal()
    with show_progress(4, " shards", stream=stream):
        while "[00:01<?" not in stream.getvalue():
            pass


@pytest.mark.parametrize(
    ("stream", "shown"),
    [(Terminal(), "\ra worker is gone\n"), (io.StringIO(), "a worker is gone\n")],
)
def test_a_log_line_has_a_line_of_its_own(stream: io.StringIO, shown: str) -> None:
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)
    try:
        with show_progress(4, " shards", stream=stream) as show:
            show(1, "7 clips")
            logging.warning("a worker is gone")
    finally:
        logging.root.removeHandler(handler)
    assert shown in (stream.getvalue() if stream.isatty() else [stream.getvalue()])
    assert not handler.filters


def test_quiet_shows_nothing_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_SECONDS", 0.01)
    stream = Terminal()
    with show_progress(4, " shards", stream=stream, quiet=True) as show:
        show(4, "7 clips")
    assert stream.getvalue() == ""


def test_a_failure_leaves_the_bar_where_it_was() -> None:
    stream = Terminal()

    def fail() -> None:
        with show_progress(4, " shards", stream=stream) as show:
            show(1, "7 clips")
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        fail()
    assert stream.getvalue().split("\r")[-1].startswith(" 25%|")


def test_a_notebook_shows_a_widget(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WORK.format(inputs=str(corpus / "in"), output=str(corpus / "out"))
    messages = run_in_notebook(work, corpus, monkeypatch)
    assert any(WIDGET in message["content"].get("data", {}) for message in messages)
    assert not [message for message in messages if message["msg_type"] == "stream"]


def test_a_notebook_without_widgets_shows_a_text_bar(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WORK.format(inputs=str(corpus / "in"), output=str(corpus / "out"))
    messages = run_in_notebook(f"{WITHOUT_WIDGETS}{work}", corpus, monkeypatch)
    text = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    assert re.search(r"100%\|█+\| .*, 3/3 shards, ", text), text
