"""Every tensor of a codec is where the codec is: shown for a GPU without one."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.support.places import TESTS
from xy_codec.engine.attention import attention_name
from xy_codec.engine.device import platform_name
from xy_codec.engine.layout import fused_attention

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


def test_identities_of_a_gpu_name_the_kernel_of_attention() -> None:
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert attention_name(gpu, torch.float32) == "sdpa-efficient"
    assert attention_name(cpu, torch.float32) == "sdpa"


def test_torch_chooses_no_attention_kernel_by_shapes_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = []

    def note(*_args: object, attn_mask: object) -> None:
        switches = torch.backends.cuda
        kinds = ("flash", "mem_efficient", "math", "cudnn")
        allowed.append([each for each in kinds if getattr(switches, f"{each}_sdp_enabled")()])

    monkeypatch.setattr(F, "scaled_dot_product_attention", note)
    for is_cuda in (True, False):
        on_device: Any = SimpleNamespace(is_cuda=is_cuda)
        fused_attention(on_device, on_device, on_device)
    assert allowed[0] == ["mem_efficient"]
    assert len(allowed[1]) > 1


def test_a_codec_on_a_gpu_never_uses_tf32() -> None:
    # A process of its own: the switches are global.
    script = """
import torch
from xy_codec.engine.precision import dtype_of
torch.backends.fp32_precision = "tf32"
torch.backends.cudnn.allow_tf32 = True
dtype_of("exact", torch.device("cuda"))
print(torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "ieee ieee\nFalse False\n", done.stderr[-2000:]
