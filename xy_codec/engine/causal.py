"""Causal transformers and convolutions over packs: a clip's bits are its own, at any length.

A clip is cut into segments of whole frames, one in a pack at a time; what the next segment sees of
those before it (rotated keys and values, a convolution's last steps) is the clip's memory.
Attention goes through each clip in blocks that are counted from the clip's first frame, so neither
company nor cuts change a bit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xy_codec.blocks.causal_conv import CausalConv1d, CausalConvTranspose1d
from xy_codec.blocks.causal_transformer import CausalLayer, CausalTransformer
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import CodedClip, Codes, Waveform
from xy_codec.engine.attention import attend_block
from xy_codec.engine.layout import Span, TiledLayout
from xy_codec.engine.packing import Job, OpenClip

# Frames whose queries attend together. Smaller blocks read fewer keys that no query sees.
BLOCK_FRAMES = 32

# Of each layer: the last keys and values `[2, heads, at most window - 1, head width]`; of each
# convolution: its last steps `[taps - 1, width]`.
Past = dict[nn.Module, Tensor]


@dataclass(slots=True)
class Memory:
    """What the next segment of a clip sees of those before it.

    Attributes:
        past: in packs of tiles.
        carried: in packs of one shape, for all layers at once, by the frame that comes next.
    """

    past: Past = field(default_factory=dict)
    carried: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames of a clip that lie in one pack; the segments of a clip share its memory.

    The first frame is a multiple of `BLOCK_FRAMES`. Behind the last segment nothing is kept.
    """

    first: int
    frames: int
    is_last: bool
    memory: Memory


def cut_clip(num_frames: int, most_frames: int) -> list[Segment]:
    """Segments of `most_frames` and one with the rest; none of a clip without frames."""
    if most_frames % BLOCK_FRAMES:
        raise ValueError(f"Segments of {most_frames} frames do not end with a block")
    memory = Memory()
    ends = [min(first + most_frames, num_frames) for first in range(0, num_frames, most_frames)]
    return [
        Segment(first, end - first, end == num_frames, memory)
        for first, end in zip(range(0, num_frames, most_frames), ends, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class SegmentJob(Job):
    """A segment of a clip that is being encoded; its samples are those of the whole clip."""

    segment: Segment


def segment_jobs(
    tag: Any, waveform: Waveform, shape: CodesShape, most_frames: int
) -> list[SegmentJob]:
    """The jobs of encoding a clip, one a segment; none of a clip without frames."""
    segments = cut_clip(shape.num_frames(len(waveform)), most_frames)
    clip = OpenClip.of(tag, shape, len(waveform), len(segments))
    return [
        SegmentJob(
            clip=clip,
            samples=waveform,
            first_frame=segment.first,
            num_kept=segment.frames,
            frames=segment.frames,
            steps=segment.frames,
            segment=segment,
        )
        for segment in segments
    ]


@dataclass(frozen=True, slots=True)
class CodedJob(SegmentJob):
    """A segment of a clip that is being decoded in a pack of one shape.

    Attributes:
        coded: what is known of the whole clip.
    """

    coded: CodedClip

    @property
    def own_codes(self) -> Codes:
        """Those of the segment."""
        return self.coded.codes[:, self.first_frame :][:, : self.frames]


@dataclass(frozen=True, slots=True)
class CodedSegment:
    """A segment of a clip that is decoded in tiles: the clip's position, and codes `[K', T]`."""

    position: int
    segment: Segment
    codes: Codes


def coded_segments(
    clips: Iterable[tuple[int, Codes]], most_frames: int
) -> Iterator[tuple[CodedSegment, int]]:
    """The segments of clips, each with its number of frames."""
    for position, codes in clips:
        for segment in cut_clip(codes.shape[1], most_frames):
            own = codes[:, segment.first :][:, : segment.frames]
            yield CodedSegment(position, segment, own), segment.frames


class SegmentLayout(Protocol):
    """What models ask of a pack of segments, of tiles or of one shape, at one rate.

    Attributes:
        place: `[S]`, the position of each step in its clip.
    """

    place: Tensor

    def stepwise(self, function: Callable[..., Tensor], *steps: Tensor) -> Tensor:
        """Apply a function whose every output step depends on the same input step only."""

    def faster(self, factor: int) -> "SegmentLayout":
        """The same segments at `factor` times the rate."""

    def transform(self, transformer: CausalTransformer, steps: Tensor) -> Tensor:
        """Run the layers over steps `[S, D]`."""

    def convolve(self, conv: CausalConv1d | CausalConvTranspose1d, steps: Tensor) -> Tensor:
        """Run a convolution; the layout is that of the slower of its two rates."""

    def without_tails(self, steps: Tensor, lengths: Any, stride: int = 1) -> Tensor:
        """Put zeros behind the first `ceil(length / stride)` steps of each segment or frame."""


class CausalLayout(TiledLayout):
    """Segments end to end; places are those in the clip, not in the segment.

    Tiles have the same number of steps at every rate, and the last one is filled with zeros: at
    high rates a pack has many tiles and loses little in it.
    """

    def __init__(
        self,
        place: Tensor,
        spans: Sequence[Span],
        tile_steps: int,
        segments: Sequence[Segment],
        block_steps: int,
        kept: Sequence[Past],
    ) -> None:
        super().__init__(place, spans, tile_steps)
        self._segments = segments
        self._block_steps = block_steps
        self._kept = kept

    def stepwise(self, function: Callable[..., Tensor], *steps: Tensor) -> Tensor:
        """Apply the function tile by tile, always with the same number of steps."""
        tiles = zip(*(self._tiles(part) for part in steps), strict=True)
        return torch.cat([function(*tile) for tile in tiles])[: len(self.place)]

    def _tiles(self, steps: Tensor) -> list[Tensor]:
        *whole, last = torch.split(steps, self.tile_steps)
        missing = self.tile_steps - len(last)
        return [*whole, torch.cat((last, last.new_zeros(missing, *last.shape[1:])))]

    def remember(self) -> None:
        """Hand what was kept to the clips' next segments, once all layers have run."""
        for segment, kept in zip(self._segments, self._kept, strict=True):
            segment.memory.past = kept

    def transform(self, transformer: CausalTransformer, steps: Tensor) -> Tensor:
        """Run the layers over steps `[S, D]`."""
        rotation = transformer.rotation(self.place)
        for layer in transformer.causal_layers():
            qkv = self.stepwise(layer.project, steps, *rotation)
            attended = self._attend_causally(qkv, layer, transformer.window)
            steps = self.stepwise(layer.mix, steps, attended)
        return steps

    def convolve(self, conv: CausalConv1d | CausalConvTranspose1d, steps: Tensor) -> Tensor:
        """Run a convolution; the layout is that of the slower of its two rates."""
        taps = self._look_back(conv, steps.reshape(len(self.place), -1), conv.num_taps - 1)
        return self.stepwise(conv.join, *taps).reshape(-1, conv.out_channels)

    def without_tails(self, steps: Tensor, lengths: Sequence[int], stride: int = 1) -> Tensor:
        """Put zeros behind the first `ceil(length / stride)` steps of each segment."""
        cleaned = steps.clone()
        for span, length in zip(self.spans, lengths, strict=True):
            cleaned[span.start + -(-length // stride) : span.start + span.steps] = 0.0
        return cleaned

    def _look_back(self, owner: nn.Module, steps: Tensor, reach: int) -> list[Tensor]:
        """Steps `[S, D]`, then those one before, and so on, inside each clip; zeros before it."""
        taps = [steps, *(steps.roll(by, 0) for by in range(1, reach + 1))]
        nothing = steps.new_zeros(reach, steps.shape[1])
        for span, segment, kept in zip(self.spans, self._segments, self._kept, strict=True):
            past = segment.memory.past[owner] if segment.first else nothing
            for by, tap in enumerate(taps):
                count = min(by, span.steps)
                tap[span.start : span.start + count] = past[reach - by : reach - by + count]
            if not segment.is_last:
                stop = span.start + span.steps
                kept[owner] = steps[stop - reach : stop].clone()
        return taps

    def _attend_causally(self, qkv: Tensor, layer: CausalLayer, window: int) -> Tensor:
        """Attention of queries, keys and values `[S, 3, H, D / H]` inside each clip."""
        attended = torch.zeros_like(qkv[:, 0])
        for span, segment, kept in zip(self.spans, self._segments, self._kept, strict=True):
            own = slice(span.start, span.start + span.length)
            query, *pair = qkv[own].permute(1, 2, 0, 3)
            seen = torch.stack(pair)
            if segment.first:
                seen = torch.cat((segment.memory.past[layer], seen), dim=2)
            if not segment.is_last:
                kept[layer] = seen[:, :, max(0, seen.shape[2] - window + 1) :].clone()
            attended[own] = self._attend_in_blocks(query, seen, window).transpose(0, 1)
        return attended

    def _attend_in_blocks(self, query: Tensor, seen: Tensor, window: int) -> Tensor:
        """Queries `[H, T, D]` of the last of the keys and values `[2, H, T', D]`."""
        before = seen.shape[2] - query.shape[1]
        attended = torch.empty_like(query)
        for start in range(0, query.shape[1], self._block_steps):
            stop = min(start + self._block_steps, query.shape[1])
            first_key = max(0, before + start - window + 1)
            attended[:, start:stop] = attend_block(
                query[:, start:stop], seen[:, :, first_key : before + stop], window
            )
        return attended

    def _at(self, place: Tensor, up: int, down: int) -> "CausalLayout":
        spans = [span.scaled(up, down) for span in self.spans]
        block_steps = self._block_steps * up // down
        return CausalLayout(place, spans, self.tile_steps, self._segments, block_steps, self._kept)


def lay_out_segments(
    segments: Sequence[Segment], tile_steps: int, device: torch.device
) -> CausalLayout:
    """Segments end to end, at the rate of frames."""
    spans, places, start = [], [], 0
    for segment in segments:
        spans.append(Span(start, segment.frames, segment.frames))
        places.append(torch.arange(segment.first, segment.first + segment.frames))
        start += segment.frames
    place = torch.cat(places).to(device, non_blocking=True)
    kept: list[Past] = [{} for _ in segments]
    return CausalLayout(place, spans, tile_steps, segments, BLOCK_FRAMES, kept)
