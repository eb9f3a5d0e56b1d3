"""Counts what packs ask of a device: `python device_operations.py exact decode moss moss-decode`.

Prints one JSON object a pack of the full model, after one for operations whose number is known.
All packs are of one shape. Of a causal codec (`moss`, `secousti` and their decoding) the last pack
is one from the middle of a long clip.
Torch's fake tensors compute nothing: memory and speed are not looked at, nor how many kernels one
operation launches. A process of its own, as `fake_gpu.py` is.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.fake_gpu import DTYPES, GPU, moss_on_gpu, move_to_gpu, secousti_on_gpu
from xy_codec.contract import CodedClip
from xy_codec.engine.causal_stream import CausalStream, coded_job
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.pack_stream import PackStream
from xy_codec.engine.windows import WindowPlan
from xy_codec.fake import FakeCodec
from xy_codec.moss.codec import MossCodec
from xy_codec.moss.released import released_config as released_moss
from xy_codec.secousti.codec import SecoustiCodec
from xy_codec.secousti.config import HOP_SAMPLES
from xy_codec.secousti.released import released_config as released_secousti
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.released import released_config

_HEAD_SIZE = 642
_CLIP_SAMPLES = 40_000
_CLIP_FRAMES = _CLIP_SAMPLES // 1280
_CLIPS = (1, 15, 60)
# These make an answer on the host, which waits until the device has done all that it was asked.
_SYNCS = (
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten._unique2",
    "aten.unique_dim", "aten.unique_consecutive", "aten.equal", "aten.is_nonzero",
)  # fmt: skip
# Only make or look at memory.
_FREE = (
    "aten.empty", "aten.new_empty", "aten.empty_like", "aten.empty_strided", "aten._unsafe_view",
    "aten.transpose_",
)  # fmt: skip


class DeviceOperations(TorchDispatchMode):
    """Operations on the device that are neither views nor allocations, and copies, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self.to_device = self.to_host = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = str(func.overloadpacket), _tensors((args, kwargs))
        # Before it runs: of these, fake tensors refuse most.
        if GPU in _devices(given) and (name in _SYNCS or _is_chosen_by_mask(name, given)):
            self.syncs[name] += 1
            return func(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        made = _tensors(out)
        if name in ("aten._to_copy", "aten.copy_") and len(_devices([*given, *made])) == 2:
            if given[-1].device == GPU:
                self.to_host += 1
            else:
                self.to_device += 1
        elif GPU in _devices([*given, *made]) and not _is_free(func, name):
            self.operations[name] += 1
        return out

    def to_dict(self) -> dict[str, Any]:
        return {
            "operations": self.operations.total(),
            "to_device": self.to_device,
            "to_host": self.to_host,
            "syncs": dict(self.syncs),
            "most": dict(self.operations.most_common(40)),
        }


def _tensors(value: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _devices(tensors: list[torch.Tensor]) -> set[torch.device]:
    return {tensor.device for tensor in tensors}


def _is_chosen_by_mask(name: str, given: list[torch.Tensor]) -> bool:
    return name.startswith("aten.index") and any(each.dtype == torch.bool for each in given[1:])


def _is_free(func: Any, name: str) -> bool:
    """Allocations, questions about a tensor, and views: their results alias what they are given."""
    aliases = (each.alias_info for each in func._schema.arguments)
    is_view = any(each is not None and not each.is_write for each in aliases)
    return name in _FREE or name.startswith("prim.") or is_view


def full_codec(precision: str) -> PackedCodec:
    """The released sizes on the fake device."""
    model = XYTokenizer(released_config(_HEAD_SIZE))
    move_to_gpu(model)
    plan = WindowPlan.of(16000, 30, 1280, 10)
    geometry = geometry_for(torch.device("cuda"), "pack")
    identity = FakeCodec().identity
    return PackedCodec(model, DTYPES[precision], identity, plan, GPU, geometry)


def known() -> DeviceOperations:
    """Two operations, a view, a copy each way, and three answers that the host waits for."""
    with DeviceOperations() as found:
        values = torch.from_numpy(np.zeros(8, np.float32)).to(GPU)
        (values[2:] + 1.0).mul_(2.0).cpu()
        for ask in (values.nonzero, lambda: values[values > 0], values.sum().item):
            with contextlib.suppress(DynamicOutputShapeException, DataDependentOutputException):
                ask()
    return found


def packs_of(codec: PackedCodec, kind: str) -> Iterator[tuple[int, Callable[[], Tensor]]]:
    """Packs of so many clips."""
    clip, codes = np.zeros(_CLIP_SAMPLES, np.float32), np.zeros((8, _CLIP_FRAMES), np.int16)
    for count in _CLIPS:
        if kind == "decode":
            # Every depth, which is the same operations.
            matrices = [codes[: number % 8 + 1] for number in range(count)]
            waves = [np.zeros(_CLIP_FRAMES * 1280, np.float32)] * count
            pairs = zip(matrices, waves, strict=True)
            coded = [job for pair in pairs for job in codec._coded_jobs(*pair)]
            yield count, partial(codec._pack_samples, coded)
        else:
            yield count, partial(codec._pack_codes, jobs_of(codec, clip, count))


def packs_of_segments(
    codec: MossCodec | SecoustiCodec, *, decodes: bool
) -> Iterator[tuple[int | str, Callable[[], Tensor]]]:
    """Packs of so many clips of the same length in seconds, and one of a clip of three packs."""
    shape, frames = codec.shape, codec.geometry.pack_steps
    seconds = _CLIP_SAMPLES // 16000
    run: Callable[[Any], Tensor] = codec._decoding if decodes else codec._pack_codes
    for count in _CLIPS:
        yield count, partial(run, segments_of(codec, shape.frames_in(seconds), count, decodes))
    long = segments_of(codec, 3 * frames, 1, decodes)
    first, middle, _ = codec._packs((job, job.frames) for job in long)
    run(first)
    yield "long", partial(run, middle)


def segments_of(codec: CausalStream, frames: int, count: int, decodes: bool) -> list[Any]:
    shape = codec.shape
    if decodes:
        # Every depth, and with noise or without, which is the same operations.
        depths = [number % shape.num_codebooks + 1 for number in range(count)]
        hop = HOP_SAMPLES if codec.side_sizes else shape.output_samples_per_frame
        wave = np.zeros(frames * shape.output_samples_per_frame, np.float32)
        side = np.zeros(max(codec.side_sizes, default=0), np.float32)
        coded = [
            CodedClip(np.zeros((depth, frames), np.int16), side, (None, "key")[number % 2])
            for number, depth in enumerate(depths)
        ]
        return [coded_job(clip, wave, hop) for clip in coded]
    return jobs_of(codec, np.zeros(frames * shape.samples_per_frame, np.float32), count)


def jobs_of(codec: PackStream[Any], clip: np.ndarray, count: int) -> list[Any]:
    return [job for number in range(count) for job in codec._jobs(number, clip)]


def packs(kind: str) -> Iterator[tuple[int | str, Callable[[], Tensor]]]:
    """The packs of a kind."""
    codec, _, way = kind.partition("-")
    if codec in ("moss", "secousti"):
        opened = (
            moss_on_gpu(released_moss(), "pack")
            if codec == "moss"
            else secousti_on_gpu(released_secousti(2), "pack")
        )
        return packs_of_segments(opened, decodes=way == "decode")
    return packs_of(full_codec("exact" if kind == "decode" else kind), kind)


def main(*kinds: str) -> None:
    # Not in inference mode, in which operations are seen before they are taken apart.
    with FakeTensorMode(), torch.no_grad():
        print(json.dumps(known().to_dict()), flush=True)
        for kind in kinds:
            for number, (count, run) in enumerate(packs(kind)):
                if number == 0:
                    # Makes what the others find.
                    run()
                with DeviceOperations() as found:
                    run().to("cpu", non_blocking=True)
                print(json.dumps({"kind": kind, "clips": count, **found.to_dict()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
