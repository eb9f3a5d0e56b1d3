"""Every tensor of a codec is where the codec is: shown for a GPU without one."""

import subprocess
import sys

import pytest

from tests.support.places import TESTS

SCRIPT = TESTS / "support" / "fake_gpu.py"
SHAPES = {"exact": [2048, 8], "fast": [2048, 8], "moss": [300, 32], "secousti": [775, 1]}


@pytest.fixture(scope="module")
def done() -> "subprocess.CompletedProcess[str]":
    """One process for all, because its start takes longer than its work."""
    words = [sys.executable, str(SCRIPT), *SHAPES]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize("kind", SHAPES)
def test_encoding_and_decoding_stay_on_a_gpu(
    done: "subprocess.CompletedProcess[str]", kind: str
) -> None:
    said = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith(kind)]
    assert len(said) == 2, done.stderr[-2000:]
    assert said[0] == f"codes gpu:0 torch.int16 {SHAPES[kind]}"
    assert said[1].startswith("wave gpu:0 torch.float32")
