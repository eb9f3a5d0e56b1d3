"""Every tensor of a codec is where the codec is: shown for a GPU without one."""

import subprocess
import sys

import pytest

from tests.support.places import TESTS

SCRIPT = TESTS / "support" / "fake_gpu.py"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("exact", [2048, 8]), ("fast", [2048, 8]), ("moss", [300, 32]), ("secousti", [775, 1])],
)
def test_encoding_and_decoding_stay_on_a_gpu(kind: str, shape: list[int]) -> None:
    words = [sys.executable, str(SCRIPT), kind]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    codes, wave = done.stdout.splitlines()
    assert codes == f"codes gpu:0 torch.int16 {shape}"
    assert wave.startswith("wave gpu:0 torch.float32")
