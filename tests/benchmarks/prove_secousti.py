"""SecoustiCodec against every recorded output of its reference: `make prove-secousti`.

Prints the tables of RESULTS.md. Needs the complete golden outputs and 3 GB of memory; about
twenty minutes on one core. `prove_secousti.py host` measures only what the host does for decoding
on a GPU, which needs neither.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch

from pipeline.bench.clips import emilia_lengths
from tests.support.secousti_case import (
    BUNDLED,
    LIMITS,
    TIE,
    Differences,
    Group,
    codec_of,
    compare_decoding,
    compare_encoding,
    compare_vocoding,
    compare_wave,
    complete,
    vocoder_mel,
)
from xy_codec.contract import CodedClip
from xy_codec.engine.causal import CodedJob
from xy_codec.engine.causal_program import fill_packs_to_their_ends
from xy_codec.engine.causal_stream import coded_job
from xy_codec.engine.pack_memory import Arrays
from xy_codec.secousti.codec import CUDA, CUDA_VOCODER_FRAMES
from xy_codec.secousti.config import HOP_SAMPLES, SAMPLE_RATE_HZ
from xy_codec.secousti.decode_program import SoundInputs
from xy_codec.secousti.released import released_config

NAMES = ("small_21", "small_86", "full_21", "full_86")
# Of the clips that are timed: four tiles of tokens at 21.53 Hz, nearly full.
SECONDS = (3.0, 9.0, 12.0, 5.0, 17.0, 6.0, 20.0, 22.0)
# Of those that are decoded: nearly a pack of one shape at 21.53 Hz.
DECODED_SECONDS = (3.0, 9.0, 5.0, 6.0)


def main(*parts: str) -> int:
    torch.set_num_threads(1)
    if parts == ("host",):
        measure_host()
        return 0
    groups = [group for group in map(complete, NAMES) if group.folder != BUNDLED]
    if len(groups) < len(NAMES):
        print("The recorded outputs are not there; set `XYTOK_GOLDEN`, see tests/golden/README.md")
        return 1
    print(f"| group | cases | tokens | wrong | ties below {TIE} | {' | '.join(LIMITS)} | seconds |")
    print("|---" * (len(LIMITS) + 6) + "|")
    failed = max(*map(_prove, groups), *map(compare_packs, groups))
    for group in groups[2:]:
        _compare_speed(group)
        compare_decoders(group)
    return failed


def _prove(group: Group) -> int:
    """Print the row of a group; 1 where something is not as recorded."""
    found, start, cases = Differences(), time.perf_counter(), 0
    for case in group.cases("cases"):
        compare_encoding(group, case, found)
    for case in (*group.cases("cases"), *group.cases("decode_cases")):
        compare_decoding(group, case, found)
        cases += 1
    for case in group.cases("vocoder_cases"):
        compare_vocoding(group, case, vocoder_mel(group, case), found)
        cases += 1
    figures = " | ".join(f"{found.largest[quantity]:.0e}" for quantity in LIMITS)
    seconds = time.perf_counter() - start
    print(f"| {group.name} | {cases} | {found.tokens} | {found.wrong} | {len(found.ties)} | "
          f"{figures} | {seconds:.0f} |", flush=True)  # fmt: skip
    for tie in found.ties:
        print(f"tie: {tie}", flush=True)
    return int(bool(found.wrong or found.too_large()))


@torch.inference_mode()
def _compare_speed(group: Group) -> None:
    """Processor seconds of packs, and of the plain modules in the reference's order, batch 1."""
    codec, rng = codec_of(group), np.random.default_rng(2)
    rate = codec.shape.input_rate_hz
    clips = [
        (0.1 * rng.standard_normal(int(rate * length))).astype(np.float32) for length in SECONDS
    ]
    alone = [torch.from_numpy(clip)[None] for clip in clips]
    ways = {
        "packs, codes and side values": lambda: codec.encode_with_side(clips),
        "batch 1, codes and side values": lambda: [codec.model.encode(clip) for clip in alone],
        "packs, the first clip alone": lambda: codec.encode_with_side(clips[:1]),
        "batch 1, the first clip": lambda: codec.model.encode(alone[0]),
    }
    # In turns, so that what else the machine does falls on all of them.
    rounds = [{name: _processor_seconds(way) for name, way in ways.items()} for _ in range(5)]
    spent = {name: min(times[name] for times in rounds) for name in ways}
    for name, seconds in spent.items():
        audio = sum(SECONDS) if "first" not in name else SECONDS[0]
        print(
            f"{group.name}, {name}: {seconds:.2f} s, {audio / seconds:.1f} x real time", flush=True
        )


def compare_packs(group: Group) -> int:
    """Waveforms of all recorded codes in packs of one shape; 1 where one is not as recorded."""
    codec, found = codec_of(group, "pack"), Differences()
    cases = [*group.cases("cases"), *group.cases("decode_cases")]
    recorded = [group.recorded(case) for case in cases]
    codes = [each["tokens"].astype(np.int16)[None] for each in recorded]
    keys, sides = [f"{group.name}/{case}" for case in cases], [each["gru"] for each in recorded]
    packs = codec.counters.packs_run
    for name, seeds in (("wav", None), ("wav_noise", keys)):
        for expected, wave in zip(
            recorded, codec.decode(codes, side=sides, keys=seeds), strict=True
        ):
            compare_wave(wave, expected, name, found, "wave")
    packs = (codec.counters.packs_run - packs) // 2
    errors = ", ".join(f"{quantity} {error:.0e}" for quantity, error in found.largest.items())
    print(f"{group.name}, {len(cases)} waveforms in {packs} packs: {errors}", flush=True)
    return int(bool(found.too_large()))


def compare_decoders(group: Group, rounds: int = 3) -> None:
    """Processor seconds of decoding, and samples: tiles against packs of one shape."""
    rng, shape = np.random.default_rng(3), codec_of(group).shape
    codes = [
        rng.integers(0, shape.codebook_sizes[0], (1, shape.frames_in(seconds))).astype(np.int16)
        for seconds in DECODED_SECONDS
    ]
    sides = [(0.3 * rng.standard_normal(shape.side_floats)).astype(np.float32) for _ in codes]
    keys = [str(number) for number in range(len(codes))]
    made: dict[str, list[np.ndarray]] = {}
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for program in ("tiles", "pack"):
            codec, start = codec_of(group, program), time.process_time()
            made[program] = codec.decode(codes, side=sides, keys=keys)
            spent[program].append(time.process_time() - start)
    unlike = sum(not np.array_equal(*pair) for pair in zip(*made.values(), strict=True))
    for program, seconds in spent.items():
        found = " ".join(f"{each:.2f}" for each in sorted(seconds))
        print(f"{group.name}, {sum(DECODED_SECONDS):.0f} s decoded, {program}: {found} s")
    print(f"{group.name}: {unlike} of {len(codes)} clips have other samples in packs", flush=True)


def measure_host(rounds: int = 5) -> None:
    """Processor seconds of preparing packs of the released sizes for a GPU, with noise."""
    for stride in (2, 1):
        config = released_config(stride)
        geometry, rate = CUDA.with_program("pack"), SAMPLE_RATE_HZ / HOP_SAMPLES
        inputs = SoundInputs(geometry, config, np.asarray, CUDA_VOCODER_FRAMES)
        side, jobs = np.zeros(config.width, np.float32), []
        for number, seconds in enumerate(emilia_lengths(600)):
            tokens = max(1, round(seconds * rate / config.token_frames))
            clip = CodedClip(np.zeros((1, tokens), np.int16), side, f"clip {number}")
            # Filled by no pack here, so it takes no memory.
            wave = np.empty(tokens * config.token_frames * HOP_SAMPLES, np.float32)
            jobs.append(coded_job(clip, wave, HOP_SAMPLES))
        packs = list(fill_packs_to_their_ends(((job, job.frames) for job in jobs), geometry))[:-1]
        sound = sum(job.frames for pack in packs for job in pack) * config.token_frames / rate
        fill = partial(_fill, inputs, inputs.arrays(np.zeros(inputs.num_bytes, np.uint8)), packs)
        spent = sorted(_processor_seconds(fill) for _ in range(rounds))
        print(
            f"{config.token_frames} frames a token: {sound:.0f} s of sound in {len(packs)} packs "
            f"of {inputs.num_bytes / 1e6:.1f} MB, {3600 * spent[rounds // 2] / sound:.2f} s of "
            f"processor an hour of sound (smallest {3600 * spent[0] / sound:.2f})",
            flush=True,
        )


def _fill(inputs: SoundInputs, parts: Arrays, packs: Iterable[list[CodedJob]]) -> None:
    for pack in packs:
        inputs.fill(parts, pack)


def _processor_seconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
