"""README, help and code agree, and every command and snippet of the README runs.

A fence marked `parse-only` says what it needs that tests do not have: its commands are parsed.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from jobs import cli
from pipeline.storage.client import Storage
from tests.support.needs import HAS_FLOAT16, WITHOUT_FLOAT16
from tests.support.places import ROOT
from tests.support.readme_blocks import README, Block, inline_flags, read_blocks
from tests.support.s3_server import S3Server

BLOCKS = read_blocks()
TO_RUN = [block for block in BLOCKS if block.runs and not block.note]
APART = [block for block in BLOCKS if block.runs and block.note]
CARD = ROOT / "xy_codec/checkpoints/xy-nano/CARD.md"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a block ended; one that failed stops those after it."""

    exit_code: int
    output: str


def fill_bucket(server: S3Server) -> None:
    """A bucket with Emilia's first English shards, as the README has it."""
    fs, _ = Storage({"s3": server.storage_options()}).filesystem("s3://bucket/x")
    if not fs.exists("bucket"):
        fs.mkdir("bucket")
    for shard in (ROOT / "tests/speech/Emilia/EN").glob("*.tar"):
        fs.put_file(str(shard), f"bucket/Emilia/EN/{shard.name}")


def environment_of(folder: Path) -> dict[str, str]:
    """What a reader has who stands in `folder` with the bundled speech in it."""
    (folder / "tests").symlink_to(ROOT / "tests")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> Outcome:
    shell = ["bash", "-euo", "pipefail", "-c"]
    command = shell if block.language == "sh" else [sys.executable, "-c"]
    out = subprocess.run(
        [*command, block.text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return Outcome(out.returncode, out.stdout)


def lacks_float16(block: Block) -> bool:
    """Whether the block asks for half precision, which this machine does not have."""
    return "--precision fast" in block.text and not HAS_FLOAT16


@pytest.fixture(scope="module")
def outcomes(
    s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Outcome]]:
    """Every block to run, run in order in one folder, as a reader would."""
    # Ray's sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="xr", ignore_cleanup_errors=True) as short:
        yield run_blocks(s3, tmp_path_factory, short)


def run_blocks(
    s3: S3Server, tmp_path_factory: pytest.TempPathFactory, short: str
) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("readme")
    fill_bucket(s3)
    environment = {**environment_of(folder), **s3.environment()}
    environment["TMPDIR"] = environment["RAY_TMPDIR"] = short
    # Ray would kill our workers for what other processes of the machine hold.
    environment["RAY_memory_monitor_refresh_ms"] = "0"
    environment["RAY_worker_niceness"] = "0"  # nor starve them
    done: dict[str, Outcome] = {}
    for block in TO_RUN:
        if lacks_float16(block):
            continue
        done[block.name] = run_block(block, folder, environment)
        if done[block.name].exit_code:
            break
    return done


@pytest.mark.slow
@pytest.mark.parametrize("block", TO_RUN, ids=lambda block: block.name)
def test_block_runs(block, outcomes):
    if lacks_float16(block):
        pytest.skip(WITHOUT_FLOAT16)
    if block.name not in outcomes:
        pytest.fail("a block before it failed")
    outcome = outcomes[block.name]
    assert outcome.exit_code == 0, outcome.output[-3000:]
    assert "Traceback" not in outcome.output


@pytest.mark.slow
@pytest.mark.parametrize("block", APART, ids=lambda block: block.name)
def test_block_that_takes_longer_runs(block, tmp_path):
    # Ten seconds take the same steps as the two minutes that `bench` measures for by default.
    quicker = replace(block, text=block.text.replace("xytok bench", "xytok bench --seconds 10"))
    outcome = run_block(quicker, tmp_path, environment_of(tmp_path))
    assert outcome.exit_code == 0, outcome.output[-3000:]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_block_parses(block):
    reasons = ("hub", "cluster", "install")  # install: it is what made this environment
    assert block.note in ("", "slow", *(f"parse-only={reason}" for reason in reasons))
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "sh":
        subprocess.run(["bash", "-n", "-c", block.text], check=True)
    else:
        assert block.language in ("text", "yaml")
    for arguments in block.xytok_commands():
        cli.APP.parse_args(arguments)


def test_every_verb_is_shown():
    shown = {arguments[0] for block in BLOCKS for arguments in block.xytok_commands()}
    assert set(cli.VERBS) == shown


def test_flags_that_prose_names_exist():
    known = {
        flag
        for verb in cli.VERBS
        for argument in cli.APP[verb].assemble_argument_collection()
        for flag in argument.names
    } | {"--help", "--version"}
    pip_flags = {"--no-deps"}
    assert not inline_flags() - known - pip_flags


def test_scores_of_the_bundled_checkpoint_are_those_of_its_card():
    stoi, pesq = re.findall(r"(?:STOI|PESQ-NB) of ([\d.]+)", README.read_text())
    row = next(line for line in CARD.read_text().splitlines() if line.startswith("| xy-nano |"))
    means = [float(cell.split()[0]) for cell in row.split("|")[2:4]]
    assert [f"{mean:.2f}" for mean in means] == [stoi, pesq]


def test_speeds_on_the_first_screen_are_recorded_results():
    first_screen = README.read_text().split("\n## ", 1)[0]
    numbers = re.findall(r"([\d,.]+) [×%]", first_screen)
    results = ROOT / "tests/benchmarks/RESULTS.md"
    recorded = re.findall(r"[\d,.]+", results.read_text()) if results.exists() else ""
    assert len(numbers) == 12
    assert not [number for number in numbers if number not in recorded]


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.slow
def test_rows_on_the_first_screen_are_those_of_the_parts(outcomes, tmp_path_factory):
    first_screen = README.read_text().split("\n## ", 1)[0]
    table = re.findall(r"^\| (\w+_W\d+) \| (.*) \|$", first_screen, re.M)
    folder = next(tmp_path_factory.getbasetemp().glob("readme*"))
    parts = ds.dataset(folder / "codes/tokens", format="parquet").to_table().to_pylist()
    rows = {row["key"]: row for row in parts}
    assert len(table) == 3
    for key, cells in table:
        row = rows[key]
        codes, frames, duration, language, dnsmos, text = cells.split(" | ")
        assert codes == f"{len(row['codes'])} lists of {len(row['codes'][0])}"
        assert (int(frames), float(duration)) == (row["num_frames"], row["duration"])
        assert (language, float(dnsmos)) == (row["language"], row["dnsmos"])
        assert row["text"].strip().startswith(text.removesuffix("…").strip())
