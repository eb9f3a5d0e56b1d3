"""Attention of all clips of a pack as one operation, whose shape does not depend on the clips.

In `attend` a step sees its whole clip, in `attend_back` a window of the steps before it, which may
lie in earlier packs. On CUDA both are the kernel of `attention_kernel.py`, on CPUs loops over clips
and blocks. Torch chooses neither, and neither lets a clip's bits depend on its company or place.
"""

import functools
import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xy_codec.blocks.causal_transformer import window_mask
from xy_codec.engine.layout import Span, attend_alone, fused_attention
from xy_codec.errors import ConfigError

# A block of queries: its first step and the one behind its last, and the same of its clip's keys.
BLOCK_FIELDS = 4
# Keys that `attend_back` takes together on CUDA, counted from their clip's first step.
KEY_STEPS_BACK = 32


def block_steps(dtype: torch.dtype) -> int:
    """Queries that go through the kernel together, counted from their clip's first step."""
    return 64 if dtype is torch.float32 else 128


def num_blocks(num_steps: int, most_clips: int, dtype: torch.dtype) -> int:
    """Blocks that are enough for any clips in a pack, and for what they leave empty."""
    return num_steps // block_steps(dtype) + most_clips + 1


def steps_back(window: int) -> int:
    """How many steps before a pack `attend_back` may read: a window, in whole blocks of keys."""
    return window + KEY_STEPS_BACK - 2


def fill_blocks(
    blocks: NDArray[np.int32], spans: Sequence[Span], num_steps: int, dtype: torch.dtype
) -> None:
    """Write which steps attend to which: each clip's to its valid ones, unused ones to none."""
    size, rows = block_steps(dtype), []
    used = spans[-1].start + spans[-1].steps if spans else 0
    for start, steps, length in (*spans, Span(used, num_steps - used, 0)):
        stop = start + steps
        for first in range(start, stop, size):
            rows.append((first, min(first + size, stop), start, start + length))
    blocks[: len(rows)] = rows
    blocks[len(rows) :] = 0


@torch.library.custom_op("xytok::attend", mutates_args=(), device_types="cpu")
def attend(qkv: Tensor, blocks: Tensor, num_heads: int) -> Tensor:
    """Full attention inside each clip, of steps `[q | k | v]` `[S, 3 D]`, to `[S, D]`.

    Args:
        blocks: `[N, 4]`, what `fill_blocks` wrote.
    """
    attended = qkv.new_zeros(len(qkv), qkv.shape[1] // 3)
    for first, _, start, stop in blocks.tolist():
        if first == start < stop:
            attended[start:stop] = attend_alone(qkv[start:stop], num_heads)
    return attended


@attend.register_fake
def _(qkv: Tensor, _blocks: Tensor, _num_heads: int) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)


@attend.register_kernel("cuda")
def _(qkv: Tensor, blocks: Tensor, num_heads: int) -> Tensor:
    from xy_codec.engine.attention_kernel import attend_in_blocks

    return attend_in_blocks(qkv, blocks, num_heads, block_steps(qkv.dtype))


@torch.library.custom_op("xytok::attend_back", mutates_args=(), device_types="cpu")
def attend_back(
    qkv: Tensor,
    seen: Tensor,
    blocks: Tensor,
    num_heads: int,
    block_steps: int,  # noqa: ARG001  # CUDA wants to know it before it has read the blocks
    window: int,
) -> Tensor:
    """Attention of the queries in `[q | k | v]` `[S, 3 D]` to a window of their clip, to `[S, D]`.

    Args:
        seen: `[P + S, 2 D]`, keys and values `[k | v]` of the P = `steps_back(window)` steps before
            the pack's first one, which its first clip may see, and of its own.
        blocks: `[N, 4]`, as for `attend`. A clip that began in an earlier pack starts before 0.
        block_steps: of a whole block; blocks are counted from their clip's first step.
        window: how many steps a step sees, itself included.
    """
    before = len(seen) - len(qkv)
    width = qkv.shape[1] // 3
    attended = qkv.new_zeros(len(qkv), width)
    for first, stop, start, stop_clip in blocks.tolist():
        if start < stop_clip:
            first_key = max(start, first - window + 1)
            own = seen[before + first_key : before + stop].view(
                -1, 2, num_heads, width // num_heads
            )
            query = qkv[first:stop, :width].view(stop - first, num_heads, -1).transpose(0, 1)
            out = attend_block(query, own.permute(1, 2, 0, 3), window)
            attended[first:stop] = out.transpose(0, 1).flatten(1)
    return attended


def attend_block(query: Tensor, seen: Tensor, window: int) -> Tensor:
    """Queries `[H, T, D]` of the last of the keys and values `[2, H, T', D]`, in a window."""
    # Copies, so that strides and alignment are the block's own as well.
    keys, values = seen.contiguous().unsqueeze(1)
    mask = _mask(query.shape[1], seen.shape[2], window, query.device)
    return fused_attention(query.contiguous()[None], keys, values, mask.to(query.dtype))[0]


_mask = functools.lru_cache(maxsize=64)(window_mask)


@attend_back.register_fake
def _(qkv: Tensor, _seen: Tensor, _blocks: Tensor, _heads: int, _steps: int, _w: int) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)


@attend_back.register_kernel("cuda")
def _(
    qkv: Tensor, seen: Tensor, blocks: Tensor, num_heads: int, block_steps: int, window: int
) -> Tensor:
    from xy_codec.engine.attention_kernel import attend_back_in_blocks

    return attend_back_in_blocks(qkv, seen, blocks, num_heads, block_steps, KEY_STEPS_BACK, window)


def attention_name(
    device: torch.device,
    dtype: torch.dtype,
    *,
    has_one_shape: bool = False,
    is_causal: bool = False,
) -> str:
    """How packs attend on a device, for the identity."""
    if device.type == "cpu":
        return "sdpa"
    if not has_one_shape:
        return "sdpa-efficient"
    if importlib.util.find_spec("triton") is None:
        raise ConfigError(
            "Packs of one shape attend by a Triton kernel, but `triton` is not installed; expected "
            "the one that torch's CUDA builds bring. Install such a build, or leave out "
            "`--compile` and the codec's option `program`."
        )
    import triton

    from xy_codec.engine.attention_kernel import KEY_STEPS, MOST_WINDOWED

    if is_causal:
        return f"triton-{triton.__version__}-back{MOST_WINDOWED}x{KEY_STEPS_BACK}"
    return f"triton-{triton.__version__}-{block_steps(dtype)}x{KEY_STEPS[dtype]}"
