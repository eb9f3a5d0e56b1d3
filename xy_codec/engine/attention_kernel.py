"""The Triton kernel of `attention.py`: blocks of queries against their clip's keys, in order.

A clip's queries and keys are cut into blocks from its first step on, and keys are added up from the
first block to the last by one program, so neither place nor company reaches a sum. Block sizes and
warps are constants; nothing is tuned on the day.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Half precision multiplies in tensor cores. float32 does not, and holds smaller blocks.
KEY_STEPS = {torch.float32: 32, torch.float16: 64}
# Queries of a window that go through the kernel together, at most.
MOST_WINDOWED = 64
# With four warps the compiler runs out of registers in float32 (sm_80 and sm_90).
WARPS = 8
STAGES = 2
_LOG2_E = 1.4426950408889634


def attend_in_blocks(qkv: Tensor, blocks: Tensor, num_heads: int, query_steps: int) -> Tensor:
    """Attention of `[q | k | v]` `[S, 3 D]` to `[S, D]`; one program a block and head."""
    seen = qkv[:, qkv.shape[1] // 3 :]
    key_steps = KEY_STEPS[qkv.dtype]
    return _attend(qkv, seen, blocks, num_heads, query_steps, key_steps, parts=1, window=0)


def attend_back_in_blocks(
    qkv: Tensor, seen: Tensor, blocks: Tensor, num_heads: int, block_steps: int, key_steps: int,
    window: int,
) -> Tensor:  # fmt: skip
    """What `attend_back` of `attention.py` does; large blocks are several programs a head."""
    query_steps = min(block_steps, MOST_WINDOWED)
    parts = block_steps // query_steps
    return _attend(qkv, seen, blocks, num_heads, query_steps, key_steps, parts, window)


def _attend(
    qkv: Tensor, seen: Tensor, blocks: Tensor, num_heads: int, query_steps: int, key_steps: int,
    parts: int, window: int,
) -> Tensor:  # fmt: skip
    width = qkv.shape[1] // 3
    out = torch.empty_like(qkv[:, :width], memory_format=torch.contiguous_format)
    # Triton launches on the current device.
    with torch.cuda.device_of(qkv):  # type: ignore[no-untyped-call]
        kernel[(len(blocks) * parts, num_heads)](
            qkv, seen, blocks, out, (width // num_heads) ** -0.5 * _LOG2_E,
            width=width, head=width // num_heads, padded_head=padded(width // num_heads),
            seen_stride=seen.stride(0), before=len(seen) - len(qkv),
            query_steps=query_steps, key_steps=key_steps, parts=parts, window=window,
            num_warps=WARPS, num_stages=STAGES, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def padded(head: int) -> int:
    """The width of a head in the kernel: a power of two of at least 16."""
    wide: int = triton.next_power_of_2(head)
    return max(16, wide)


@triton.jit  # type: ignore[untyped-decorator]
def kernel(  # type: ignore[no-untyped-def]  # Triton's own types
    qkv, seen, blocks, out, scale,
    width: tl.constexpr, head: tl.constexpr, padded_head: tl.constexpr,
    seen_stride: tl.constexpr, before: tl.constexpr,
    query_steps: tl.constexpr, key_steps: tl.constexpr, parts: tl.constexpr, window: tl.constexpr,
):  # fmt: skip
    """Softmax over a clip's keys, block after block, in float32; `window` 0 is all of them."""
    block = blocks + 4 * (tl.program_id(0) // parts)
    first, stop = tl.load(block), tl.load(block + 1)
    first_key, stop_key = tl.load(block + 2), tl.load(block + 3)
    if window == 0:
        # A pointer less to hold: with two, registers are too few for some versions of Triton.
        seen = qkv + width
    if parts > 1:
        first += query_steps * (tl.program_id(0) % parts)
        stop = tl.minimum(stop, first + query_steps)
    if first < stop:
        column = tl.arange(0, padded_head)
        at = tl.program_id(1) * head + column
        query = first + tl.arange(0, query_steps)
        own = (query < stop)[:, None] & (column < head)[None, :]
        q = tl.load(qkv + query[:, None] * (3 * width) + at[None, :], mask=own, other=0.0)
        largest = tl.full([query_steps], float("-inf"), tl.float32)
        weight = tl.zeros([query_steps], tl.float32)
        mixed = tl.zeros([query_steps, padded_head], tl.float32)
        if window > 0:
            # Whole blocks of keys, counted from the clip's first step.
            skipped = tl.maximum(first - window + 1 - first_key, 0) // key_steps * key_steps
            stop_key = tl.minimum(stop, stop_key)
            first_key += skipped
        for start in range(first_key, stop_key, key_steps):
            key = start + tl.arange(0, key_steps)
            is_key = key < stop_key
            where = seen + (before + key[:, None]) * seen_stride + at[None, :]
            inside = is_key[:, None] & (column < head)[None, :]
            k = tl.load(where, mask=inside, other=0.0)
            v = tl.load(where + width, mask=inside, other=0.0)
            score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            if window > 0:
                # What is no key of the clip is behind every query of it, or before their windows.
                before_window = query - window
                is_seen = (key[None, :] <= query[:, None]) & (key[None, :] > before_window[:, None])
                score = tl.where(is_seen, score, float("-inf"))
                now = tl.maximum(largest, tl.max(score, 1))
                # No query has seen a key yet where it is not a number.
                base = tl.where(now == float("-inf"), 0.0, now)
            else:
                score = tl.where(is_key[None, :], score, float("-inf"))
                # The first block has a key, so from here on this is a number.
                now = tl.maximum(largest, tl.max(score, 1))
                base = now
            share = tl.exp2(score - base[:, None])
            fade = tl.exp2(largest - base)
            weight = weight * fade + tl.sum(share, 1)
            mixed = mixed * fade[:, None]
            mixed += tl.dot(share.to(v.dtype), v, input_precision="ieee")
            largest = now
        # Steps of no clip have no keys: their weight is 0, and so is what they get.
        mixed = mixed / tl.where(weight == 0.0, 1.0, weight)[:, None]
        target = out + query[:, None] * width + at[None, :]
        tl.store(target, mixed.to(out.dtype.element_ty), mask=own)
