"""Stage 1: are the codes the recorded ones, and do a clip's bits depend on its place or company?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.golden.weights import blob_sha256
from tests.gpu.models import FULL, SMALL, FoundGroup, Models, Wave, emilia_clips, nano_speech
from tests.gpu.record import Record
from tests.support.golden_case import recorded, wave_error
from xy_codec.engine.packing import fill_packs
from xy_codec.xy.config import FRAME_TOKENS
from xy_codec.xy.packed_codec import PackedCodec

_CLEAR_GAP, _SMALL_GAP = 1e-3, 1e-4
_SMALL_CASES = ("zeros", "synth1281_ov10", "speech5", "codes3_ov10")
_PROBE_SECONDS = 0.9

Codes = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Kind:
    """A group of recorded outputs, in one precision, and how its packs run."""

    group: str
    precision: str
    program: str

    @property
    def name(self) -> str:
        """Where its findings are."""
        return f"{self.precision}.{self.group}"

    def codec(self, models: Models, overlap: float = 10.0) -> PackedCodec:
        return models.codec(self.group, self.precision, overlap, program=self.program)


def run(record: Record, models: Models) -> None:
    """Every question for `exact`, then for `fast`; the small model first."""
    groups = [SMALL] if models.is_small else [SMALL, FULL]
    packs = 5 if models.is_small else 200
    for precision in ("exact", "fast"):
        for group in groups:
            kind = Kind(group, precision, "tiles")
            record.attempt(kind.name, golden_cases, record, models, kind)
            record.attempt(f"invariance.{kind.name}", invariance, models, kind, packs)
    for group in ("xy-nano", *groups):
        record.attempt(f"flips.{group}", flip_rates, models, group)
    if not models.is_small:
        for group in ("small_ttsd32", "full_ttsd24", "full_ttsd32"):
            kind = Kind(group, "exact", "tiles")
            record.attempt(kind.name, golden_cases, record, models, kind)
            models.forget(group)
    for group in groups:
        record.attempt(f"weights.{group}", _has_recorded_weights, models, group)


def _has_recorded_weights(models: Models, name: str) -> bool | None:
    """Whether the weights made here are those of the recorded outputs; None without a record.

    Right codes say so too; this tells wrong weights from wrong arithmetic.
    """
    group = FoundGroup(name)
    if not group.exists:
        return None
    return bool(blob_sha256(models.arrays(group.shapes)) == group.info["weights_sha256"])


def golden_cases(record: Record, models: Models, kind: Kind) -> dict[str, Any]:
    """Frames and samples that differ from the reference's, over the recorded cases of a group."""
    group = FoundGroup(kind.group)
    if not group.exists:
        record.note(f"{kind.group}: no recorded outputs here; carry them in `.data/golden`")
        return {"error": "recorded outputs are not here"}
    total = {"cases": 0, "frames": 0, "wrong": 0, "ties_1e-3": 0, "ties_1e-4": 0}
    error, absent = 0.0, []
    # Decoding has one way only.
    for cases in ("cases", "decode_cases") if kind.program == "tiles" else ("cases",):
        for case in group.cases(cases):
            info = group.info[cases][case]
            # A 7 s overlap is refused: it is no whole number of frames.
            if info["overlap_seconds"] == 7 or (models.is_small and case not in _SMALL_CASES):
                continue
            codec = kind.codec(models, info["overlap_seconds"])
            expected = recorded(group, case)
            codes = _recorded_codes(expected)
            if cases == "cases":
                try:
                    waves = group.waves(info)
                except FileNotFoundError:
                    absent.append(case)
                    continue
                for key, count in compare(expected, codec.encode(waves)).items():
                    total[key] += count
            total["cases"] += 1
            decoded = codec.decode(codes)
            error = max(error, wave_error(codec, expected, decoded, info["overlap_seconds"]))
    if absent:
        record.note(f"{kind.group}: inputs missing for {', '.join(absent)}")
    return {
        **total,
        "wave_error": error,
        "inputs_missing": len(absent),
    }


def _recorded_codes(expected: dict[str, NDArray[Any]]) -> list[Codes]:
    count = sum(key.startswith("codes/") for key in expected)
    return [expected[f"codes/{i}"].astype(np.int16) for i in range(count)]


def compare(expected: dict[str, NDArray[Any]], got: Sequence[Codes]) -> dict[str, int]:
    """Frames, those that differ at a clear gap, and those at a tie.

    A frame counts by its first codebook that differs: the later ones code what it left over.
    """
    found = {"frames": 0, "wrong": 0, "ties_1e-3": 0, "ties_1e-4": 0}
    for i, codes in enumerate(got):
        wanted, gap = expected[f"codes/{i}"].astype(np.int16), expected[f"gap/{i}"]
        found["frames"] += codes.shape[1]
        for frame in np.flatnonzero((codes != wanted).any(axis=0)):
            first = int(np.argmax(codes[:, frame] != wanted[:, frame]))
            distance = float(gap[first, frame])
            is_tie = distance < _CLEAR_GAP
            found["ties_1e-3" if is_tie else "wrong"] += 1
            found["ties_1e-4"] += distance < _SMALL_GAP
    return found


class LatentTap:
    """What goes into the quantiser, bit for bit: codes alone hide most differences."""

    def __init__(self, codec: PackedCodec) -> None:
        self.codec = codec
        self.parts: list[torch.Tensor] = []

    def encode(self, clips: Sequence[Wave]) -> list[tuple[Codes, NDArray[np.float32]]]:
        """Codes and latents `[T, D]` of clips that fit one pack."""
        self.parts.clear()
        hook = self.codec.encoder.input_proj.register_forward_hook(
            lambda module, inputs, output: self.parts.append(output.float().cpu())
        )
        packs = self.codec.counters.packs_run
        try:
            codes = self.codec.encode(clips)
        finally:
            hook.remove()
        assert self.codec.counters.packs_run == packs + 1, "these clips do not fit one pack"
        latents, at, out = torch.cat(self.parts).numpy(), 0, []
        for clip, matrix in zip(clips, codes, strict=True):
            out.append((matrix, latents[at : at + matrix.shape[1]]))
            at += steps_of(self.codec, clip) // FRAME_TOKENS
        return out


def steps_of(codec: PackedCodec, clip: Wave) -> int:
    """Steps that a clip of one window owns in a pack."""
    return codec.geometry.steps_of(codec.encoder.mel.num_frames(len(clip)) // 2)


def one_pack(codec: PackedCodec, clips: Sequence[Wave]) -> list[int]:
    """The numbers of the first clips that still go into one pack."""
    windows = ((number, steps_of(codec, clip)) for number, clip in enumerate(clips))
    first = next(fill_packs(windows, codec.geometry))
    return first[: codec.geometry.most_clips] if codec.geometry.has_one_shape else first


def invariance(models: Models, kind: Kind, packs: int) -> dict[str, Any]:
    """A clip at every place of a pack, and clips in random company, against themselves alone."""
    codec = kind.codec(models)
    tap = LatentTap(codec)
    count = 8 if models.is_small else 24
    clips = [clip for clip in emilia_clips(count) if len(clip) <= codec.plan.step_frames * 1280]
    alone = [tap.encode([clip])[0] for clip in clips]
    rng = np.random.default_rng(1)
    company = _Differences()
    for _ in range(packs):
        order = rng.integers(0, len(clips), 200)
        taken = one_pack(codec, [clips[i] for i in order])
        chosen = order[: len(taken)].tolist()
        for i, got in zip(chosen, tap.encode([clips[i] for i in chosen]), strict=True):
            company.add(alone[i], got)
    places = _every_place(codec, tap, stride=8 if packs < 10 else 1)
    waves = _decoded_company(codec, [codes for codes, _ in alone], max(1, packs // 8))
    return {
        "random_packs": packs,
        "company": company.found,
        "places": places.found,
        "decoded_clips": waves[0],
        "decoded_clips_differ": waves[1],
    }


class _Differences:
    """Counts of clips that are not what they are alone."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {
            "clips": 0, "codes_differ": 0, "bits_differ": 0, "largest_difference": 0.0,
        }  # fmt: skip

    def add(
        self,
        alone: tuple[Codes, NDArray[np.float32]],
        got: tuple[Codes, NDArray[np.float32]],
    ) -> None:
        self.found["clips"] += 1
        self.found["codes_differ"] += not np.array_equal(alone[0], got[0])
        if not np.array_equal(alone[1].view(np.int32), got[1].view(np.int32)):
            self.found["bits_differ"] += 1
            gap = float(np.abs(alone[1] - got[1]).max(initial=0.0))
            self.found["largest_difference"] = max(self.found["largest_difference"], gap)


def _every_place(codec: PackedCodec, tap: LatentTap, stride: int) -> _Differences:
    """Copies of one clip end to end, moved on by a frame a pack, until each place was taken."""
    probe = emilia_clips(1)[0][: int(_PROBE_SECONDS * 16000)]
    (alone,) = tap.encode([probe])
    found = _Differences()
    own = steps_of(codec, probe)
    for shift in range(0, own, stride * codec.geometry.clip_steps):
        # Its mel frames fill just the steps it moves the others by; no clip owns fewer than 8.
        steps = shift if shift >= 2 * FRAME_TOKENS else shift + own
        filler = [np.full(steps * 320 - 640, 0.01, np.float32)] if shift else []
        copies = [*filler, *[probe] * (codec.geometry.pack_steps // own)]
        taken = one_pack(codec, copies)
        got = tap.encode([copies[i] for i in taken])
        for one in got[len(filler) :]:
            found.add(alone, one)
    return found


def _decoded_company(codec: PackedCodec, codes: list[Codes], trials: int) -> tuple[int, int]:
    """Clips decoded in random company, and how many of them differ from themselves alone."""
    rng = np.random.default_rng(2)
    alone = [codec.decode([matrix])[0] for matrix in codes[:8]]
    clips = differ = 0
    for _ in range(trials):
        chosen = rng.integers(0, len(alone), rng.integers(2, 9)).tolist()
        for i, wave in zip(chosen, codec.decode([codes[i] for i in chosen]), strict=True):
            clips += 1
            differ += not np.array_equal(wave, alone[i])
    return clips, differ


def flip_rates(models: Models, group: str) -> dict[str, Any]:
    """The share of codes per codebook that `fast` gives otherwise than `exact`."""
    exact, fast = models.codec(group, "exact"), models.codec(group, "fast")
    count = 1 if models.is_small else 64
    clips = nano_speech(exact, count) if group == "xy-nano" else emilia_clips(count)
    pairs = zip(exact.encode(clips), fast.encode(clips), strict=True)
    flipped = np.concatenate([a != b for a, b in pairs], axis=1)
    return {
        "audio": "speech decoded by xy-nano" if group == "xy-nano" else "artificial voices",
        "frames": flipped.shape[1],
        "per_codebook": [round(float(rate), 5) for rate in flipped.mean(axis=1)],
        "overall": round(float(flipped.mean()), 5),
    }
