"""Decoding as one program of one shape: tokens and vectors of a pack's clips to their samples.

Up to the log-mel everything looks back only, as in `pack_program.py`. The vocoder looks ahead, by
`SEEN_AHEAD` frames: of a clip that goes on behind the pack, samples of the last frames come with
the next pack. That one is given the log-mel of the last `SEEN_FRAMES`, and the turns that the
harmonics had made before. Those are sums of integers over a clip, whose bits do not depend on the
order, so that one running sum over the whole pack gives them for all clips.

The vocoder runs in a constant number of tiles, in which the host lays the clips
(`lay_in_tiles`): frames that a tile needs of its clips' past and future lie in it twice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.contract import Side
from xy_codec.engine.causal import CodedJob
from xy_codec.engine.causal_program import CausalBlockLayout, Reach, SegmentInputs
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_memory import Arrays, Shapes
from xy_codec.secousti.config import HOP_SAMPLES, NUM_HARMONICS, CodecConfig
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.noise import noise_states, start_phases
from xy_codec.secousti.packed import decode_pack
from xy_codec.secousti.source import added_turns, count_turns
from xy_codec.secousti.vocoder import Vocoder
from xy_codec.secousti.vocoder_tile import CONTEXT_FRAMES, EDGE_FRAMES, Tile, filter_tile

# Frames to either side that a pitch depends on: five convolutions of three taps.
_PITCH_FRAMES = 5
# What the last frames of a clip wait for, where it goes on behind a pack.
SEEN_AHEAD = CONTEXT_FRAMES + _PITCH_FRAMES
# Frames before a pack that its first clip's samples depend on, from those on that had to wait.
SEEN_FRAMES = SEEN_AHEAD + CONTEXT_FRAMES + _PITCH_FRAMES
# Rows of products are a multiple of it.
_WHOLE_ROWS = 64
# Frames of a tile that a cut of a clip costs.
_CUT_FRAMES = 2 * (CONTEXT_FRAMES + EDGE_FRAMES)


class HeardFrames(NamedTuple):
    """The frames of a job's clip that become sound in its pack, and how many the clip has."""

    start: int
    stop: int
    num_frames: int


class Stretch(NamedTuple):
    """Frames from `start` on that lie in a tile, and how many of them lie there as context."""

    number: int
    start: int
    length: int
    lead: int
    trail: int
    row: int


class SoundTensors(NamedTuple):
    """A pack of F tokens of at most C clips, and R frames in the tiles of the vocoder.

    Attributes:
        tokens: `[F]`.
        clips: `[F]`, which of the vectors each token's clip has.
        vectors: `[C, D]`.
        frames: `[R]`, which of the frames before and in the pack lies there.
        place: `[R]`, its place in its clip; no clip's where it is below 0 or too large.
        num_frames: `[R]`, how many frames the clip has.
        phases: `[R, 9]`, where the harmonics of the clip start.
        noise: `[R, 4]`, of `noise_states`; 0 where there is none.
        heard: `[H]`, frames of the tiles that are a clip's sound, job after job.
    """

    tokens: Tensor
    clips: Tensor
    vectors: Tensor
    frames: Tensor
    place: Tensor
    num_frames: Tensor
    phases: Tensor
    noise: Tensor
    heard: Tensor


class SoundInputs(SegmentInputs[CodedJob]):
    """Sizes of the parts, and how they are filled."""

    def __init__(
        self,
        geometry: Geometry,
        config: CodecConfig,
        vector_of: Callable[[Side | None], Side],
        tile_frames: int,
    ) -> None:
        """Take what makes a clip's vector, and about how many frames tiles are to have."""
        super().__init__(geometry)
        self.token_frames = token_frames = config.token_frames
        self._vector_of, self._width = vector_of, config.width
        self._most_heard = geometry.pack_steps * token_frames + SEEN_AHEAD
        # The first clip may have begun before, the last one may go on, and tiles cut clips.
        needed = self._most_heard + 2 * EDGE_FRAMES * geometry.most_clips + _CUT_FRAMES
        self.num_tiles = max(1, round(needed / tile_frames))
        needed += _CUT_FRAMES * (self.num_tiles - 1)
        self.tile_frames = -(-needed // self.num_tiles)

    def heard(self, job: CodedJob) -> HeardFrames:
        """What becomes sound of a job: not its last frames where the clip goes on."""
        segment, rate = job.segment, self.token_frames
        start = max(0, segment.first * rate - SEEN_AHEAD)
        stop = (segment.first + segment.frames) * rate
        whole = job.coded.codes.shape[1] * rate
        return HeardFrames(start, stop if segment.is_last else stop - SEEN_AHEAD, whole)

    def _own_shapes(self) -> Shapes:
        tokens, clips = self.geometry.pack_steps, self.geometry.most_clips
        frames = self.num_tiles * self.tile_frames
        return [
            (np.int32, (tokens,)),
            (np.int32, (tokens,)),
            (np.float32, (clips, self._width)),
            (np.int32, (frames,)),
            (np.int32, (frames,)),
            (np.int32, (frames,)),
            (np.float32, (frames, NUM_HARMONICS)),
            (np.int64, (frames, 4)),
            (np.int32, (self._most_heard,)),
        ]

    def _fill_own(self, parts: Arrays, jobs: Sequence[CodedJob]) -> None:
        tokens, clips, vectors, *of_tiles = parts
        tokens[:], clips[:], vectors[:] = 0, 0, 0
        token, firsts = 0, []
        for number, job in enumerate(jobs):
            tokens[token : token + job.frames] = job.own_codes[0]
            clips[token : token + job.frames] = number
            vectors[number] = self._vector_of(job.coded.side)
            # Where among frames seen that of the clip's first token would be.
            firsts.append(SEEN_FRAMES + (token - job.segment.first) * self.token_frames)
            token += job.frames
        self._fill_tiles(of_tiles, jobs, firsts)

    def _fill_tiles(self, parts: Arrays, jobs: Sequence[CodedJob], firsts: Sequence[int]) -> None:
        frames, place, num_frames, phases, noise, heard = parts
        frames[:], place[:], num_frames[:], phases[:], noise[:], heard[:] = 0, -1, 0, 0, 0, 0
        spans, done = [self.heard(job) for job in jobs], 0
        seen = self.geometry.pack_steps * self.token_frames + SEEN_FRAMES
        for stretch in lay_in_tiles(spans, self.num_tiles, self.tile_frames):
            job, whole = jobs[stretch.number], spans[stretch.number].num_frames
            heard[done : done + stretch.length] = np.arange(
                stretch.row, stretch.row + stretch.length
            )
            done += stretch.length
            own = slice(stretch.row - stretch.lead, stretch.row + stretch.length + stretch.trail)
            place[own] = np.arange(own.start, own.stop) + stretch.start - stretch.row
            num_frames[own] = whole
            frames[own] = np.clip(place[own] + firsts[stretch.number], 0, seen - 1)
            key = job.coded.key
            if key is not None:
                phases[own] = start_phases(key)
                first, stop = max(0, int(place[own][0])), min(whole, int(place[own][-1]) + 1)
                row = first + stretch.row - stretch.start
                noise[row : row + stop - first] = noise_states(key, first, stop)


def lay_in_tiles(
    spans: Sequence[HeardFrames], num_tiles: int, tile_frames: int
) -> Iterator[Stretch]:
    """Where frames lie that become sound; what does not fit into a tile is cut."""
    row = 0
    for number, (start, stop, num_frames) in enumerate(spans):
        while start < stop:
            lead = min(start, CONTEXT_FRAMES) + EDGE_FRAMES
            trail = min(num_frames - stop, CONTEXT_FRAMES) + EDGE_FRAMES
            room, count = tile_frames - row % tile_frames - lead, stop - start
            if count + trail > room:
                trail = CONTEXT_FRAMES + EDGE_FRAMES
                count = room - trail
            if count < 1:
                row += room + lead
                continue
            yield Stretch(number, start, count, lead, trail, row + lead)
            row, start = row + lead + count + trail, start + count
    if row > num_tiles * tile_frames:
        raise ValueError(f"{row} frames do not fit into {num_tiles} tiles of {tile_frames}")


def carried_by(vocoder: Vocoder, num_mels: int) -> list[Reach]:
    """What the vocoder takes from pack to pack: log-mel, and turns as pairs of int64."""
    return [(vocoder, SEEN_FRAMES, num_mels), (vocoder.source, 1, NUM_HARMONICS * 2 * 2)]


def decode(
    model: SecoustiModel, tile_frames: int, layout: CausalBlockLayout, parts: Sequence[Tensor]
) -> Tensor:
    """The sound of a pack, `[H, 256]`."""
    pack, vocoder = SoundTensors(*parts), model.vocoder
    mel = decode_pack(model, pack.tokens, pack.vectors.index_select(0, pack.clips), layout)
    fast = layout.faster(model.config.token_frames)
    seen = fast.look_back(vocoder, mel, SEEN_FRAMES)
    pitch, turns = _harmonics(vocoder, seen, fast)
    parts_of_tiles = [torch.split(part, tile_frames) for part in parts[3:8]]
    samples = []
    for frames, place, num_frames, phases, noise in zip(*parts_of_tiles, strict=True):
        source = vocoder.source.of_frames(
            pitch.index_select(0, frames), turns.index_select(0, frames),
            phases[:, None], vocoder.source.noise(noise),
        )  # fmt: skip
        tile = Tile(place, num_frames)
        samples.append(filter_tile(vocoder, tile, seen.index_select(0, frames), source))
    return torch.cat(samples).view(-1, HOP_SAMPLES).index_select(0, pack.heard)


def _harmonics(vocoder: Vocoder, seen: Tensor, layout: CausalBlockLayout) -> tuple[Tensor, Tensor]:
    """Pitches `[P + S]` and turns before each frame `[P + S, 9]` of the P frames before a pack
    and its own S.

    Wrong in the first and the last `_PITCH_FRAMES` of a clip that goes on there.
    """
    rows = torch.arange(len(seen), dtype=torch.int32, device=seen.device)
    # Of frames before the pack as if its first clip had begun before all of them.
    place = torch.cat((layout.place[0] + rows[:SEEN_FRAMES] - SEEN_FRAMES, layout.place))
    pitch = _pitch(vocoder, seen, place)
    counted = count_turns(pitch)
    before = counted.cumsum(0) - counted
    # Counted from a clip's first frame, or from the first one whose pitch is known.
    first = rows - place
    counts_on = first < 0
    first = first.clamp(min=0).masked_fill(counts_on, _PITCH_FRAMES)
    carried, left = (
        each.view(torch.int64).view(-1, 2) for each in layout.carried.of(vocoder.source)
    )
    turns = before - before.index_select(0, first) + carried * counts_on[:, None, None]
    # The frame that will be the first one whose pitch is known.
    left.copy_(
        turns.index_select(0, layout.tail(SEEN_FRAMES)[_PITCH_FRAMES : _PITCH_FRAMES + 1])[0]
    )
    return pitch, added_turns(turns)


def _pitch(vocoder: Vocoder, mel: Tensor, place: Tensor) -> Tensor:
    """Pitches `[S]` of log-mel `[S, M]` of clips that lie end to end."""
    # Where a product has one column, rows behind the last whole block are rounded otherwise.
    num_frames, room = len(mel), -len(mel) % _WHOLE_ROWS
    mel, is_first = F.pad(mel, (0, 0, 0, room)), F.pad(place == 0, (0, room), value=1.0)[:, None]
    is_last = F.pad(is_first[1:], (0, 0, 0, 1), value=1.0)
    for conv in vocoder.pitch.convs:
        taps = cast(nn.Conv1d, conv).weight.permute(2, 1, 0).contiguous()
        before = F.pad(mel[:-1], (0, 0, 1, 0)).masked_fill(is_first, 0.0)
        behind = F.pad(mel[1:], (0, 0, 0, 1)).masked_fill(is_last, 0.0)
        total = torch.addmm(cast(Tensor, conv.bias), before, taps[0])
        mel = F.elu(total.addmm_(mel, taps[1]).addmm_(behind, taps[2]))
    pitch: Tensor = vocoder.pitch.classifier(mel)[:num_frames, 0].abs()
    return pitch
