"""Every tensor of a codec is where the codec is: shown for a GPU without one."""

import subprocess
import sys

import pytest
import torch

from tests.support.places import TESTS
from xy_codec.engine.device import platform_name

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


def test_codes_of_a_gpu_say_that_none_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "NVIDIA H100")
    name = platform_name(torch.device("cuda", 0))
    assert name == f"cuda:NVIDIA-H100/torch-{torch.__version__}/not-yet-proven"
