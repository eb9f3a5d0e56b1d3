"""The Triton kernels in Triton's interpreter, which needs no GPU, and their code for two GPUs.

Triton comes with torch's CUDA builds. Beside another one, install it and run the file by hand:
`pip install --target /tmp/triton triton`, then pytest with `PYTHONPATH=/tmp/triton`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.places import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="no Triton, which torch for CUDA brings"
    ),
]


def trial(*words: str, **environment: str) -> Any:
    """A process of its own: whether kernels are interpreted is settled when they are defined."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernel_trial", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found() -> Any:
    return trial(TRITON_INTERPRET="1")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_attention_is_that_of_each_clip_alone(found: dict[str, Any], precision: str) -> None:
    errors = found["attention"][precision]
    # Against float64; half precision rounds what goes in and out.
    assert errors["kernel"] < {"float32": 2e-6, "float16": 2e-3}[precision]
    assert errors["kernel"] < 2 * errors["torch"]
    assert errors["steps_of_no_clip"] == 0.0


def test_attention_back_is_that_of_each_clip_alone(found: dict[str, Any]) -> None:
    errors = found["causal"]
    assert errors["kernel"] < 2e-6
    assert errors["kernel"] < 2 * errors["torch"]
    assert errors["steps_of_no_clip"] == 0.0


def test_depthwise_convolution_is_that_of_each_clip_alone(found: dict[str, Any]) -> None:
    errors = found["depthwise"]
    assert errors["kernel"] < 2e-6
    assert errors["kernel"] <= 2 * errors["torch"]


@pytest.mark.parametrize("what", ["float32", "float16", "causal", "depthwise"])
def test_a_clip_has_the_same_bits_at_every_place(found: dict[str, Any], what: str) -> None:
    places = found["places"][what]
    assert places["tried"] >= 10
    assert places["differ"] == 0


def test_layer_norm_is_that_of_torch_rounded(found: dict[str, Any]) -> None:
    assert found["norm"]["kernel"] <= 1.1 * found["norm"]["torch"]


def test_kernels_compile_for_gpus_without_spilling_registers() -> None:
    made = trial("compile", TRITON_INTERPRET="0")
    assert {each["name"] for each in made} == {
        f"{kernel} sm_{chip}"
        for chip in (80, 90)
        for kernel in (
            "attention float32",
            "attention float16",
            "causal attention 512",
            "causal attention 768",
            "causal attention 1280",
            "norm",
            "depthwise",
        )
    }
    for each in made:
        assert each["stack_bytes"] == 0, each
        # What a block may have on sm_80 and sm_90 without asking for more.
        assert each["shared_bytes"] <= 99 * 1024, each
