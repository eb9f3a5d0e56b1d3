"""Packs of one shape of causal codecs: their inputs, their layout, and what goes across packs.

Clips lie end to end in the order in which they come, and what does not fit is cut. So at most one
clip of a pack began before it, which is its first, and at most one goes on behind it, its last:
what that clip's next steps see (`CarriedSteps`) has one shape as well.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from xy_codec.blocks.causal_conv import CausalConv1d, CausalConvTranspose1d
from xy_codec.blocks.causal_transformer import CausalLayer, CausalTransformer
from xy_codec.blocks.rotary import Rotation, for_each_channel, rotate_in_place
from xy_codec.engine import attention  # it defines operations
from xy_codec.engine.causal import BLOCK_FRAMES, Memory, Segment, SegmentJob
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_memory import Arrays, PackMemory, Shapes
from xy_codec.engine.pack_runner import PackRunner

AnySegmentJob = TypeVar("AnySegmentJob", bound=SegmentJob)

# Who looks back, how many steps, and how many values of float32 each of them has.
Reach = tuple[nn.Module, int, int]


def fill_packs_to_their_ends(
    jobs: Iterable[tuple[AnySegmentJob, int]], geometry: Geometry
) -> Iterator[list[AnySegmentJob]]:
    """Whole clips pack by pack, in the order in which they come; what does not fit is cut.

    Cuts are where blocks of a clip end, so that up to one block of a pack stays empty.
    """
    pack: list[AnySegmentJob] = []
    room = geometry.pack_steps
    for job, _ in jobs:
        while job.frames > room:
            if room >= BLOCK_FRAMES:
                head, job = _cut(job, room // BLOCK_FRAMES * BLOCK_FRAMES)
                pack.append(head)
            yield pack
            pack, room = [], geometry.pack_steps
        pack.append(job)
        room -= job.frames
        if len(pack) == geometry.most_clips:
            yield pack
            pack, room = [], geometry.pack_steps
    if pack:
        yield pack


def _cut(job: AnySegmentJob, frames: int) -> tuple[AnySegmentJob, AnySegmentJob]:
    """The first so many frames of a job, and the rest."""
    whole = job.segment
    job.clip.jobs_left += 1
    head = Segment(whole.first, frames, is_last=False, memory=whole.memory)
    rest = replace(whole, first=whole.first + frames, frames=whole.frames - frames)
    return _job_of(job, head), _job_of(job, rest)


def _job_of(job: AnySegmentJob, segment: Segment) -> AnySegmentJob:
    frames = segment.frames
    return replace(
        job, segment=segment, first_frame=segment.first,
        num_kept=frames, frames=frames, steps=frames,
    )  # fmt: skip


class SegmentTensors(NamedTuple):
    """Where the clips of a pack of F frames lie.

    Attributes:
        place: `[F]`, each frame's position in its clip.
        blocks: `[N, 4]`, the frames that attend together, see `attend_back` of `attention.py`.
        used: `[1]`, the first frame behind the last clip.
    """

    place: Tensor
    blocks: Tensor
    used: Tensor


class SegmentInputs(PackMemory, Generic[AnySegmentJob]):
    """What a pack of segments is given: the parts of a codec, and where the segments lie."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def shapes(self) -> Shapes:
        """Type and shape of each part."""
        frames, clips = self.geometry.pack_steps, self.geometry.most_clips
        return [
            *self._own_shapes(),
            (np.int32, (frames,)),
            (np.int32, (frames // BLOCK_FRAMES + clips + 1, attention.BLOCK_FIELDS)),
            (np.int32, (1,)),
        ]

    def fill(self, parts: Arrays, jobs: Sequence[AnySegmentJob]) -> None:
        """Write jobs that lie end to end into the parts of a memory."""
        *own, place, blocks, used = parts
        place[:], used[:] = 0, sum(job.frames for job in jobs)
        rows = list(blocks_of([job.segment for job in jobs], self.geometry.pack_steps))
        blocks[: len(rows)], blocks[len(rows) :] = rows, 0
        start = 0
        for job in jobs:
            first = job.segment.first
            place[start : start + job.frames] = np.arange(first, first + job.frames)
            start += job.frames
        self._fill_own(own, jobs)

    @abstractmethod
    def _own_shapes(self) -> Shapes:
        """Type and shape of each of the codec's parts."""

    @abstractmethod
    def _fill_own(self, parts: Arrays, jobs: Sequence[AnySegmentJob]) -> None:
        """Write the codec's parts."""


def blocks_of(
    segments: Sequence[Segment], num_frames: int, size: int = BLOCK_FRAMES
) -> Iterator[tuple[int, int, int, int]]:
    """First frame, the one behind the last, and the same of the clip; steps of no clip see none."""
    start = 0
    for segment in segments:
        stop = start + segment.frames
        for first in range(start, stop, size):
            yield first, min(first + size, stop), start - segment.first, stop
        start = stop
    for first in range(start, num_frames, size):
        yield first, min(first + size, num_frames), first, first


class CarriedSteps:
    """What the first clip of a pack sees of earlier packs, and what its last leaves to later ones.

    For each layer keys and values, for each convolution the steps that it looks back, and what else
    a codec asks for. All of them lie in one stretch of memory, which a copy takes to a clip and
    back.
    """

    def __init__(
        self, stages: Iterable[nn.Module], more: Iterable[Reach], device: torch.device
    ) -> None:
        self._spans: dict[nn.Module, tuple[int, int, int]] = {}
        size = 0
        for owner, reach, width in (*more, *(each for stage in stages for each in _reaches(stage))):
            self._spans[owner] = size, reach, width
            size += reach * width
        self.before = torch.zeros(size, device=device)
        self.after = torch.zeros(size, device=device)

    def look_back(self, owner: nn.Module, steps: Tensor, tail: Tensor) -> Tensor:
        """Steps `[S, D]` behind those before the pack, `[P + S, D]`; its rows `tail` are kept."""
        before, after = self.of(owner)
        seen = torch.cat((before, steps))
        torch.index_select(seen, 0, tail, out=after)
        return seen

    def of(self, owner: nn.Module) -> tuple[Tensor, Tensor]:
        """An owner's places before and after the pack, both `[reach, width]`."""
        start, reach, width = self._spans[owner]
        stop = start + reach * width
        return self.before[start:stop].view(reach, width), self.after[start:stop].view(reach, width)


def _reaches(stage: nn.Module) -> Iterator[Reach]:
    """What looks back in a stage, how many steps, and how wide they are."""
    for module in stage.modules():
        if isinstance(module, CausalTransformer):
            for layer in module.causal_layers():
                yield (
                    layer,
                    attention.steps_back(module.window),
                    2 * layer.self_attn.in_proj.in_features,
                )
        elif isinstance(module, CausalConv1d):
            yield module, module.num_taps - 1, module.stride[0] * module.in_channels
        elif isinstance(module, CausalConvTranspose1d):
            yield module, module.num_taps - 1, module.in_channels


class CausalBlockLayout:
    """Segments of which tensors alone know where they lie, at one of their rates."""

    def __init__(self, where: SegmentTensors, carried: CarriedSteps, rate: int = 1) -> None:
        steps = torch.arange(rate, dtype=torch.int32, device=where.place.device)
        self.place = (where.place[:, None] * rate + steps).flatten()
        self.carried = carried
        self._where = where
        self._rate = rate
        self._faster: dict[int, CausalBlockLayout] = {}
        self._starting: dict[int, Tensor] = {}
        self._tails: dict[int, Tensor] = {}

    def stepwise(self, function: Callable[..., Tensor], *steps: Tensor) -> Tensor:
        """Apply a function whose every output step depends on the same input step only."""
        return function(*steps)

    def faster(self, factor: int) -> "CausalBlockLayout":
        """The same segments at `factor` times the rate."""
        if factor == 1:
            return self
        if factor not in self._faster:
            made = CausalBlockLayout(self._where, self.carried, self._rate * factor)
            self._faster[factor] = made
        return self._faster[factor]

    def transform(self, transformer: CausalTransformer, steps: Tensor) -> Tensor:
        """Run the layers over steps `[S, D]`."""
        factors = for_each_channel(transformer.rotation(self.place))
        for layer in transformer.causal_layers():
            qkv = layer.self_attn.in_proj(layer.norm1(steps))
            steps = layer.mix(steps, self._attend(qkv, layer, factors, transformer.window))
        return steps

    def _attend(self, qkv: Tensor, layer: CausalLayer, factors: Rotation, window: int) -> Tensor:
        """Attention of steps `[q | k | v]`, which are not rotated yet, to `[S, H, D / H]`."""
        width, num_heads = qkv.shape[1] // 3, layer.self_attn.num_heads
        rotate_in_place(qkv[:, : 2 * width].view(len(qkv), 2 * num_heads, -1), factors)
        seen = self.look_back(layer, qkv[:, width:], attention.steps_back(window))
        attended: Tensor = torch.ops.xytok.attend_back(
            qkv, seen, self._blocks, num_heads, BLOCK_FRAMES * self._rate, window
        )
        return attended.view(len(qkv), num_heads, -1)

    def convolve(self, conv: CausalConv1d | CausalConvTranspose1d, steps: Tensor) -> Tensor:
        """Run a convolution; the layout is that of the slower of its two rates."""
        reach = conv.num_taps - 1
        taps = [steps.reshape(len(self.place), -1)]
        if reach:
            seen = self.look_back(conv, taps[0], reach)
            for by in range(1, reach + 1):
                tap = seen[reach - by :][: len(self.place)]
                taps.append(tap.masked_fill(self._starts(by), 0.0))
        return conv.join(*taps).reshape(-1, conv.out_channels)

    def look_back(self, owner: nn.Module, steps: Tensor, reach: int) -> Tensor:
        """Steps `[S, D]` behind the `reach` steps before them, which may be of earlier packs."""
        return self.carried.look_back(owner, steps, self.tail(reach))

    def without_tails(self, steps: Tensor, lengths: Tensor, stride: int = 1) -> Tensor:
        """Put zeros behind the first `ceil(length / stride)` steps of each frame; lengths `[F]`."""
        place = torch.arange(self._rate, dtype=torch.int32, device=lengths.device)
        is_behind = place * stride >= lengths[:, None]
        return steps.masked_fill(is_behind.view(-1, 1), 0.0)

    @cached_property
    def _blocks(self) -> Tensor:
        return self._where.blocks * self._rate

    def tail(self, reach: int) -> Tensor:
        """Where the last steps of the last clip are, counted from so many before the pack."""
        if reach not in self._tails:
            behind = torch.arange(reach, dtype=torch.int32, device=self.place.device)
            self._tails[reach] = self._where.used * self._rate + behind
        return self._tails[reach]

    def _starts(self, by: int) -> Tensor:
        """`[S, 1]`, the steps for which the one so many before is of no clip."""
        if by not in self._starting:
            self._starting[by] = (self.place < by)[:, None]
        return self._starting[by]


class CausalRunner(Generic[AnySegmentJob]):
    """Runs packs of one shape, and takes what a clip's next steps see from pack to pack.

    That is kept in buffers that clips use one after the other: a clip has two of them at most, the
    one that its last pack was given and the one that this pack left. New ones are made only where
    streams run by turns.
    """

    def __init__(
        self,
        name: str,
        program: Callable[[CausalBlockLayout, Sequence[Tensor]], Tensor],
        stages: Iterable[nn.Module],
        inputs: SegmentInputs[AnySegmentJob],
        device: torch.device,
        *,
        as_graph: bool,
        more: Iterable[Reach] = (),
    ) -> None:
        """Take what makes the result of a layout and the codec's own parts.

        Args:
            stages: what the program runs that looks back in time.
            more: what else is taken from pack to pack.
        """
        self._carried = carried = CarriedSteps(stages, more, device)
        self._buffers = [torch.zeros_like(carried.after) for _ in range(2)]
        self._ended: Memory | None = None
        self._inputs = inputs

        def run(*parts: Tensor) -> Tensor:
            *own, place, blocks, used = parts
            return program(CausalBlockLayout(SegmentTensors(place, blocks, used), carried), own)

        self._runner = PackRunner(name, run, inputs, device, as_graph=as_graph)

    def __call__(self, jobs: Sequence[AnySegmentJob]) -> Tensor:
        """The result of jobs that lie end to end, on the device.

        The same jobs may be run again: what a clip brings along is kept until it has ended.
        """
        first, last = jobs[0].segment, jobs[-1].segment
        self._take_back(first)
        if first.first:
            self._carried.before.copy_(first.memory.carried[first.first])
        made = self._runner(partial(self._inputs.fill, jobs=jobs))
        if not last.is_last:
            self._buffer(last).copy_(self._carried.after)
        if first.first and first.is_last:
            self._ended = first.memory
        return made

    def _take_back(self, first: Segment) -> None:
        """Free buffers that no pack reads again: this one may have run before, others have not."""
        if self._ended is not None and self._ended is not first.memory:
            self._buffers += self._ended.carried.values()
            self._ended = None
        carried = first.memory.carried
        self._buffers += [carried.pop(frame) for frame in list(carried) if frame < first.first]

    def _buffer(self, last: Segment) -> Tensor:
        """Where to keep what is seen behind a segment."""
        carried, behind = last.memory.carried, last.first + last.frames
        if behind not in carried:
            made = self._buffers.pop() if self._buffers else torch.zeros_like(self._carried.after)
            carried[behind] = made
        return carried[behind]
