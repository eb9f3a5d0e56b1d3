"""Submitted jobs on real Ray: left by Ctrl-C, found again, refused twice, stopped in order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from tests.support.ray_runs import make_shards, ray_cluster_of, wait_for

pytestmark = [
    pytest.mark.slow,
    # Ray's job client opens its log socket the way aiohttp has begun to advise against.
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]
# Two in hand take longer than the 3 s that Ray would give the job to end.
NUM_SHARDS = 24


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ray_cluster_of(num_cpus=2, include_dashboard=True) as cluster:
        yield "http://" + str(cluster.head_node.webui_url)


def long_shards(folder: Path) -> Path:
    shard = make_shards(folder, 1, num_clips=1000) / "000.tar"
    for number in range(1, NUM_SHARDS):
        shutil.copy(shard, folder / f"{number:03d}.tar")
    return folder


def test_a_job_is_left_found_again_not_doubled_and_stopped(
    url: str, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    words = ["submit", str(long_shards(tmp_path / "in")), str(output), "--codec", "fake"]
    words += ["--workers", "1", "--cpus-per-worker", "1", "--cluster", url]
    # The flag wins over the variable.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    client = subprocess.Popen(
        [sys.executable, "-m", "jobs", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    wait_for(lambda: list(output.rglob("manifests/**/*.json")) or client.poll(), "a shard")
    client.send_signal(signal.SIGINT)
    said, errors = client.communicate(timeout=60)
    assert client.returncode == 130, said + errors
    job = re.findall(r"^job (\S+)$", said, re.M)[0]
    assert f"job `{job}` goes on; follow it with `xytok logs {job} --cluster {url}`" in errors

    assert cli.run(["logs", job, "--no-follow", "--cluster", url]) == 0
    assert "shards done" in capfd.readouterr().out
    # The same command again does not do the work twice.
    assert cli.run(words) == 1
    assert re.search(rf"is in work by process \d+ on .* \(job `{job}`\)", capfd.readouterr().out)

    assert cli.run(["stop", job, "--cluster", url]) == 0
    assert f"job {job} is stopped" in capfd.readouterr().out
    (lease,) = (output / "lease").iterdir()
    assert json.loads(lease.read_text())["is_released"]
    cli.run(["status", str(output)])
    assert f"job       {job}" in capfd.readouterr().out
    assert cli.run(["logs", job, "--cluster", url]) == 143
    told = capfd.readouterr()
    assert re.search(r"Stopped by SIGTERM with \d+ shards? done and [1-9]\d* left", told.out)
    assert f"Job `{job}` was stopped" in told.err
    assert cli.run(["stop", job, "--cluster", url]) == 0
    assert "was over already" in capfd.readouterr().out


def test_an_unknown_job_is_one_message(url: str, capfd: Any) -> None:
    for verb in ("logs", "stop"):
        assert cli.run([verb, "raysubmit_no", "--cluster", url]) == 2
        assert "knows no job `raysubmit_no`" in capfd.readouterr().err
