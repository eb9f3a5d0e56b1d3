"""The cluster scripts against real local processes: Ray, and SeaweedFS where a bucket is wanted."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.ray_runs import make_shards
from tests.support.ray_runs import wait_for as until
from tests.support.s3_server import S3Server, free_ports
from tests.support.shard_maker import pairs, tar_bytes, write_shard

BIN = Path(sys.executable).parent
NUM_SHARDS = 400
STAND_INS = {
    # Runs the step here, whatever node it was meant for.
    "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; exec "$@"',
    "scontrol": 'if [ "$1" = requeue ]; then echo "$2" > requeued; else echo localhost; fi',
}
# What a worker is to the hook: its name, and that it finishes what it has on SIGTERM.
BUSY = """
import pathlib, signal, sys, time
def finish(*_):
    time.sleep(float(sys.argv[1]))
    pathlib.Path("finished").touch()
    sys.exit()
signal.signal(signal.SIGTERM, finish)
pathlib.Path("started").touch()
time.sleep(120)
"""
pytestmark = pytest.mark.slow


def cluster_environment(tmp_path: Path, server: S3Server | None = None) -> dict[str, str]:
    """A private Ray: own folder, own token, no address from outside."""
    unset = ("RAY_ADDRESS", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment |= server.environment() if server else {}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    # Ray would kill our workers for what other processes of the machine hold.
    environment["RAY_memory_monitor_refresh_ms"] = "0"
    environment["RAY_worker_niceness"] = "0"  # nor starve them
    return environment | {"RAY_TMPDIR": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}


def head_options(tmp_path: Path) -> list[str]:
    """Options of `ray start --head` that keep it apart from other clusters of this machine."""
    client, agent, agent_grpc, metrics = free_ports(4)
    return [
        f"--temp-dir={tmp_path}",
        f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--metrics-export-port={metrics}",
        "--object-store-memory=100000000",
        "--disable-usage-stats",
    ]


def end_group(process: "subprocess.Popen[str]") -> None:
    """End a process and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


@contextmanager
def ray_head(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """A Ray head with a job server; gives the address of the job server."""
    port, dashboard = free_ports(2)
    options = [*head_options(tmp_path), f"--port={port}", f"--dashboard-port={dashboard}"]
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", *options]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{dashboard}"
            wait_for(url, head, tmp_path / "head.log")
            yield url
        finally:
            end_group(head)


def wait_for(url: str, head: "subprocess.Popen[str]", log: Path) -> None:
    """Until the job server answers; that it wants a token is an answer."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and head.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api/version", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(1)
        else:
            return
    pytest.fail(f"no job server at {url}:\n{log.read_text()[-2000:]}")


def run_script(command: Sequence[str | Path], environment: dict[str, str], cwd: Path) -> str:
    out = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=400, check=False
    )
    assert out.returncode == 0, out.stdout[-3000:] + out.stderr[-3000:]
    return out.stdout


def test_smoke_script_tokenizes_verifies_and_audits(s3, short_folder):
    environment = cluster_environment(short_folder, s3)
    with ray_head(short_folder, environment) as url:
        environment |= {"RAY_API_SERVER_ADDRESS": url, "OUT": "s3://smoke/demo"}
        environment["SPEECH"] = str(ROOT / "tests/speech")
        out = run_script(["sh", ROOT / "docker/smoke.sh"], environment, short_folder)
    assert "report.html" in out
    assert out.rstrip().endswith("== done")


def slurm_environment(folder: Path) -> dict[str, str]:
    """SLURM's commands as stand-ins, and a private Ray."""
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    environment = cluster_environment(folder)
    del environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN"]
    environment |= {"PATH": f"{folder}{os.pathsep}{environment['PATH']}", "SLURM_JOB_NODELIST": "x"}
    environment["RAY_HEAD_OPTIONS"] = " ".join([*head_options(folder), "--num-cpus=2"])
    return environment | {"RAY_PORT": str(free_ports(1)[0]), "SLURM_JOB_ID": "12"}


def many_shards(folder: Path) -> Path:
    shard = make_shards(folder, 1, num_clips=60) / "000.tar"
    for number in range(1, NUM_SHARDS):
        shutil.copy(shard, folder / f"{number:03d}.tar")
    return folder


def test_slurm_script_tokenizes_on_its_allocation(short_folder):
    shard = ROOT / "tests/speech/Emilia/IT/IT-B000000.tar"
    script = ROOT / "docker/slurm.sbatch"
    run_script(
        ["bash", script, shard, "out", "--codec", "fake"],
        slurm_environment(short_folder),
        short_folder,
    )
    assert len(list((short_folder / "out/tokens").rglob("*.parquet"))) == 1
    assert not (short_folder / "requeued").exists()


def test_slurm_script_drains_before_the_time_limit_and_is_requeued(short_folder):
    words = [str(many_shards(short_folder / "in")), "out", "--codec", "fake", "--workers", "1"]
    with (short_folder / "log").open("w") as log:
        script = subprocess.Popen(
            ["bash", ROOT / "docker/slurm.sbatch", *words],
            env=slurm_environment(short_folder),
            cwd=short_folder,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            manifests = short_folder / "out/manifests"
            until(lambda: list(manifests.rglob("*.json")) or script.poll(), "a shard")
            script.send_signal(signal.SIGUSR1)
            assert script.wait(200) == 143, (short_folder / "log").read_text()[-3000:]
        finally:
            end_group(script)
    assert (short_folder / "requeued").read_text() == "12\n"
    assert 0 < len(list(manifests.rglob("*.json"))) < NUM_SHARDS
    (lease,) = (short_folder / "out/lease").iterdir()
    assert '"is_released": true' in lease.read_text()


@pytest.mark.parametrize(
    ("name", "needs_seconds", "has_seconds", "is_finished"),
    [
        ("ray::RayWorker.tokenize", "2", "60", True),
        ("/opt/xytok/bin/xytok tokenize in out", "2", "60", True),
        ("ray::RayWorker", "60", "2", False),
    ],
)
def test_the_hook_waits_for_what_works_or_for_the_end_of_the_notice(
    name, needs_seconds, has_seconds, is_finished, tmp_path
):
    (tmp_path / "ray").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ray").chmod(0o755)
    # Other Rays of this machine are none of its business.
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path)}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    busy = subprocess.Popen(
        ["bash", "-c", 'exec -a "$0" "$@"', name, sys.executable, "-c", BUSY, needs_seconds],
        env=environment,
        cwd=tmp_path,
    )
    try:
        until((tmp_path / "started").exists, "the worker")
        began = time.monotonic()
        run_script(["sh", ROOT / "docker/drain.sh", has_seconds], environment, tmp_path)
        assert (tmp_path / "finished").exists() == is_finished
        assert time.monotonic() - began < 40
    finally:
        busy.kill()
        busy.wait()


def test_a_worker_node_that_drains_finishes_the_shards_in_hand(short_folder):
    environment = cluster_environment(short_folder)
    words = [str(many_shards(short_folder / "in")), str(short_folder / "out"), "--codec", "fake"]
    with ray_head(short_folder, environment) as url:
        environment["RAY_API_SERVER_ADDRESS"] = url
        submit = [str(BIN / "xytok"), "submit", *words, "--workers", "1", "--no-wait"]
        run_script(submit, environment, short_folder)
        manifests = short_folder / "out/manifests"
        until(lambda: list(manifests.rglob("*.json")), "a shard")
        run_script(["sh", ROOT / "docker/drain.sh", "100"], environment, short_folder)
        # All that was in hand is done: nothing is written any more, and nothing is half written.
        num_done = len(list(manifests.rglob("*.json")))
        time.sleep(3)
        assert len(list(manifests.rglob("*.json"))) == num_done < NUM_SHARDS
    parts = {path.stem for path in (short_folder / "out/tokens").rglob("*.parquet")}
    assert len(parts) == num_done


def test_a_ray_job_counts_damaged_shards_as_done_and_lost_ones_as_failed(tmp_path):
    whole = tar_bytes(pairs(4))
    write_shard(tmp_path / "cut/a.tar", whole[: len(whole) // 2])
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost/a.tar").symlink_to(tmp_path / "nothing.tar")
    script, options = ROOT / "docker/rayjob.sh", ["--codec", "fake", "--engine", "inline"]
    environment = cluster_environment(tmp_path)
    done = {}
    for name in ("cut", "lost"):
        words = ["sh", script, "tokenize", name, f"out-{name}", *options]
        done[name] = subprocess.run(
            words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert (done["cut"].returncode, done["lost"].returncode) == (0, 1)
    assert "a.tar: 1 hole" in done["cut"].stderr


def test_a_ray_job_that_is_stopped_waits_until_xytok_has_drained(tmp_path):
    slow = "trap 'sleep 1; touch drained; exit 143' TERM; touch started; sleep 30 & wait"
    (tmp_path / "xytok").write_text(f"#!/bin/sh\n{slow}\n")
    (tmp_path / "xytok").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    job = subprocess.Popen(
        ["sh", ROOT / "docker/rayjob.sh"], env=environment, cwd=tmp_path, start_new_session=True
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(20) == 143
    assert (tmp_path / "drained").exists()
