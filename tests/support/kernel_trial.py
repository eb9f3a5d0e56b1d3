"""Runs the Triton kernels in Triton's interpreter: `TRITON_INTERPRET=1 python kernel_trial.py`.

With `compile` it makes their code for GPUs that need not be there. Prints one line of JSON.
"""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from xy_codec.engine import attention_kernel, causal_program, depthwise_kernel, layer_norm_kernel
from xy_codec.engine.attention import (
    KEY_STEPS_BACK,
    attend,
    attend_back,
    block_steps,
    fill_blocks,
    num_blocks,
    steps_back,
)
from xy_codec.engine.attention_kernel import (
    KEY_STEPS,
    MOST_WINDOWED,
    attend_back_in_blocks,
    attend_in_blocks,
)
from xy_codec.engine.causal import BLOCK_FRAMES, Memory, Segment
from xy_codec.engine.depthwise import convolve_depthwise
from xy_codec.engine.depthwise_kernel import convolve_in_blocks
from xy_codec.engine.layer_norm_kernel import norm_steps_into_half
from xy_codec.engine.layout import Span

STEPS, WIDTH, HEADS, MOST_CLIPS = 512, 96, 2, 8
# A short clip, one of whole blocks, one beyond a block.
SPANS = (Span(0, 64, 9), Span(64, 128, 128), Span(192, 196, 131))
_TYPES = {torch.float32: "*fp32", torch.float16: "*fp16"}
# The released sizes: 768 wide, heads of 64, and the width of the vocoder.
_RELEASED_WIDTH, _RELEASED_HEAD, _VOCODER_WIDTH = 768, 64, 512
# Of the causal kernel: a window, the steps before the pack, and clips, of which the first began
# before it and the last ends in a block of its own. All of `_BLOCK` steps a block.
WINDOW, _BLOCK = 90, 128
CAUSAL_SPANS = (Span(0, 160, 160), Span(160, 131, 131), Span(291, 9, 9))
_BEGUN = 256
Run = Callable[[torch.Tensor, tuple[Span, ...]], torch.Tensor]


def blocks_of(spans: tuple[Span, ...], dtype: torch.dtype) -> torch.Tensor:
    blocks = np.zeros((num_blocks(STEPS, MOST_CLIPS, dtype), 4), np.int32)
    fill_blocks(blocks, spans, STEPS, dtype)
    return torch.from_numpy(blocks)


def attend_blocks(qkv: torch.Tensor, spans: tuple[Span, ...]) -> torch.Tensor:
    return attend_in_blocks(qkv, blocks_of(spans, qkv.dtype), HEADS, block_steps(qkv.dtype))


def attention_errors(dtype: torch.dtype) -> dict[str, float]:
    torch.manual_seed(0)
    qkv = torch.randn(STEPS, 3 * WIDTH).to(dtype)
    blocks = blocks_of(SPANS, dtype)
    got, theirs = attend_blocks(qkv, SPANS), attend(qkv, blocks, HEADS)
    precise = attend(qkv.double(), blocks, HEADS)
    valid = torch.cat([torch.arange(s.start, s.start + s.length) for s in SPANS])
    used = SPANS[-1].start + SPANS[-1].steps
    return {
        "kernel": float((got.double() - precise)[valid].abs().max()),
        "torch": float((theirs.double() - precise)[valid].abs().max()),
        "steps_of_no_clip": float(got[used:].abs().max()),
    }


def convolve(steps: torch.Tensor, spans: tuple[Span, ...]) -> torch.Tensor:
    weight, bias = depthwise_weights()
    return convolve_in_blocks(steps, blocks_of(spans, steps.dtype), weight, bias)


def depthwise_weights() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return torch.randn(WIDTH, 1, 7), torch.randn(WIDTH)


def causal_blocks(spans: tuple[Span, ...], begun: int) -> torch.Tensor:
    """Blocks of clips end to end, whose first one had `begun` steps before the pack."""
    memory = [Memory() for _ in spans]
    first, *others = zip(spans, memory, strict=True)
    segments = [Segment(begun, first[0].steps, True, first[1])]
    segments += [Segment(0, span.steps, True, each) for span, each in others]
    rows = list(causal_program.blocks_of(segments, STEPS, _BLOCK))
    return torch.tensor(rows, dtype=torch.int32)


def causal_errors() -> dict[str, float]:
    torch.manual_seed(4)
    qkv, past = torch.randn(STEPS, 3 * WIDTH), torch.randn(steps_back(WINDOW), 2 * WIDTH)
    blocks = causal_blocks(CAUSAL_SPANS, _BEGUN)
    seen = torch.cat((past, qkv[:, WIDTH:]))
    got = attend_back_in_blocks(qkv, seen, blocks, HEADS, _BLOCK, KEY_STEPS_BACK, WINDOW)
    theirs = attend_back(qkv, seen, blocks, HEADS, _BLOCK, WINDOW)
    precise = attend_back(qkv.double(), seen.double(), blocks, HEADS, _BLOCK, WINDOW)
    used = CAUSAL_SPANS[-1].start + CAUSAL_SPANS[-1].steps
    return {
        "kernel": float((got.double() - precise)[:used].abs().max()),
        "torch": float((theirs.double() - precise)[:used].abs().max()),
        "steps_of_no_clip": float(got[used:].abs().max()),
    }


def causal_places() -> dict[str, int]:
    """One clip at many places, and cut where blocks end, against itself at the first step."""
    torch.manual_seed(5)
    steps, tried, differ = 300, 0, 0
    own, others = torch.randn(steps, 3 * WIDTH), torch.randn(STEPS, 3 * WIDTH)

    def run(pack: torch.Tensor, past: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
        seen = torch.cat((past, pack[:, WIDTH:]))
        return attend_back_in_blocks(pack, seen, blocks, HEADS, _BLOCK, KEY_STEPS_BACK, WINDOW)

    alone: torch.Tensor | None = None
    for start in range(0, STEPS - steps, 28):
        pack = others.clone()
        pack[start : start + steps] = own
        before = (Span(0, start, start),) if start else ()
        blocks = causal_blocks((*before, Span(start, steps, steps)), 0)
        got = run(pack, torch.full((steps_back(WINDOW), 2 * WIDTH), torch.inf), blocks)
        alone = got[:steps] if alone is None else alone
        tried += 1
        differ += int(not torch.equal(got[start : start + steps], alone))
    for cut in (_BLOCK, 2 * _BLOCK):
        pack = others.clone()
        pack[: steps - cut] = own[cut:]
        blocks = causal_blocks((Span(0, steps - cut, steps - cut), Span(steps - cut, 60, 60)), cut)
        got = run(pack, own[cut - steps_back(WINDOW) : cut, WIDTH:], blocks)
        tried += 1
        differ += int(alone is None or not torch.equal(got[: steps - cut], alone[cut:]))
    return {"tried": tried, "differ": differ}


def depthwise_errors() -> dict[str, float]:
    weights, blocks = depthwise_weights(), blocks_of(SPANS, torch.float32)
    steps = torch.randn(STEPS, WIDTH)
    got, theirs = convolve(steps, SPANS), convolve_depthwise(steps, blocks, *weights)
    precise = convolve_depthwise(steps.double(), blocks, *(each.double() for each in weights))
    valid = torch.cat([torch.arange(s.start, s.start + s.length) for s in SPANS])
    return {
        "kernel": float((got.double() - precise)[valid].abs().max()),
        "torch": float((theirs.double() - precise)[valid].abs().max()),
    }


def places(run: Run, width: int, dtype: torch.dtype) -> dict[str, int]:
    """One clip at many places, behind and before others, against itself at the first step."""
    torch.manual_seed(1)
    length, steps = 139, 140
    own, others = torch.randn(steps, width).to(dtype), torch.randn(STEPS, width).to(dtype)
    alone, tried, differ = None, 0, 0
    for start in range(0, STEPS - steps - 8, 28):
        pack = others.clone()
        pack[start : start + steps] = own
        before = (Span(0, start, start),) if start else ()
        behind = Span(start + steps, 8, 7)
        got = run(pack, (*before, Span(start, steps, length), behind))[start : start + length]
        alone = got if alone is None else alone
        tried, differ = tried + 1, differ + int(not torch.equal(got, alone))
    return {"tried": tried, "differ": differ}


def norm_errors() -> dict[str, float]:
    torch.manual_seed(2)
    steps, weight, bias = torch.randn(40, WIDTH) * 30 + 5, torch.randn(WIDTH), torch.randn(WIDTH)
    parts = (steps.double(), (WIDTH,), weight.double(), bias.double())
    precise = F.layer_norm(*parts, 1e-5)
    theirs = F.layer_norm(steps, (WIDTH,), weight, bias, 1e-5).half()
    got = norm_steps_into_half(steps, weight, bias, 1e-5)
    return {
        "kernel": float((got.double() - precise).abs().max()),
        "torch": float((theirs.double() - precise).abs().max()),
    }


def sources() -> dict[str, tuple[Any, int]]:
    """Each kernel as it is called for the released sizes, with its warps."""
    made: dict[str, tuple[Any, int]] = {}
    for dtype, kind in _TYPES.items():
        types = {"qkv": kind, "seen": kind, "blocks": "*i32", "out": kind, "scale": "fp32"}
        sizes = {
            "width": _RELEASED_WIDTH, "head": _RELEASED_HEAD, "padded_head": _RELEASED_HEAD,
            "seen_stride": 3 * _RELEASED_WIDTH, "before": 0, "query_steps": block_steps(dtype),
            "key_steps": KEY_STEPS[dtype], "parts": 1, "window": 0,
        }  # fmt: skip
        source = ASTSource(attention_kernel.kernel, types, sizes, _aligned(4))
        made[f"attention {str(dtype).removeprefix('torch.')}"] = source, attention_kernel.WARPS
    types = dict.fromkeys(("qkv", "seen", "out"), "*fp32") | {"blocks": "*i32", "scale": "fp32"}
    # MOSS-Audio-Tokenizer at 12.5 Hz and at 100 Hz, SecoustiCodec.
    for width, window, rate in ((1280, 125, 1), (_RELEASED_WIDTH, 1000, 8), (512, 250, 1)):
        sizes = {
            "width": width, "head": _RELEASED_HEAD, "padded_head": _RELEASED_HEAD,
            "seen_stride": 2 * width, "before": steps_back(window),
            "query_steps": min(BLOCK_FRAMES * rate, MOST_WINDOWED),
            "key_steps": KEY_STEPS_BACK,
            "parts": -(-BLOCK_FRAMES * rate // MOST_WINDOWED), "window": window,
        }  # fmt: skip
        source = ASTSource(attention_kernel.kernel, types, sizes, _aligned(4))
        made[f"causal attention {width}"] = source, attention_kernel.WARPS
    types = dict.fromkeys(("steps", "weight", "bias"), "*fp32")
    types |= {"out": "*fp16", "eps": "fp32"}
    sizes = {"width": _RELEASED_WIDTH, "padded": 1024}
    source = ASTSource(layer_norm_kernel.kernel, types, sizes, _aligned(4))
    made["norm"] = source, layer_norm_kernel.WARPS
    types = dict.fromkeys(("steps", "weight", "bias", "out"), "*fp32") | {"blocks": "*i32"}
    sizes = {
        "width": _VOCODER_WIDTH, "taps": 7, "block_steps": block_steps(torch.float32),
        "columns": depthwise_kernel.COLUMNS,
    }  # fmt: skip
    source = ASTSource(depthwise_kernel.kernel, types, sizes, _aligned(5))
    return {**made, "depthwise": (source, depthwise_kernel.WARPS)}


def _aligned(pointers: int) -> dict[Any, Any]:
    """Torch's memory begins at multiples of far more than 16 bytes."""
    return {(number,): [["tt.divisibility", 16]] for number in range(pointers)}


def compile_all() -> list[dict[str, Any]]:
    found = []
    for chip in (80, 90):
        for name, (source, warps) in sources().items():
            options = {
                "num_warps": warps, "num_stages": attention_kernel.STAGES, "enable_fp_fusion": True,
            }  # fmt: skip
            made = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
            found.append(
                {
                    "name": f"{name} sm_{chip}",
                    "shared_bytes": made.metadata.shared,
                    "stack_bytes": _stack_bytes(made.asm["cubin"]),
                }
            )
    return found


def _stack_bytes(cubin: bytes) -> int:
    """What registers were too few for, by the tool that comes with Triton."""
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        words = [str(tools / "cuobjdump"), "-res-usage", file.name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return max(map(int, re.findall(r"STACK:(\d+)", said)))


def main() -> None:
    if "compile" in sys.argv:
        print(json.dumps(compile_all()))
        return
    dtypes = {"float32": torch.float32, "float16": torch.float16}
    found = {
        "attention": {name: attention_errors(dtype) for name, dtype in dtypes.items()},
        "places": {
            **{name: places(attend_blocks, 3 * WIDTH, dtype) for name, dtype in dtypes.items()},
            "causal": causal_places(),
            "depthwise": places(convolve, WIDTH, torch.float32),
        },
        "causal": causal_errors(),
        "depthwise": depthwise_errors(),
        "norm": norm_errors(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
