"""The released size of MOSS-Audio-Tokenizer against its reference: `make prove-moss`.

Needs the group `full` of the complete golden outputs and 9 GB of memory; 15 minutes on one core.
`prove_moss.py pack` asks the same of packs of one shape, `prove_moss.py speed` times those against
tiles by turns (`speed small4w` a small model, without the golden outputs). Weights are made key by
key. Prints one line a question, for RESULTS.md.
"""

import copy
import hashlib
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from tests.golden.moss.weights import make_array
from tests.golden.weights import SCHEME, update_digest
from tests.support.golden_case import inputs
from tests.support.moss_case import Group, recorded_depths, small_codec, wave_error, wrong_codes
from xy_codec.engine.threads import threads
from xy_codec.moss.codec import MossCodec
from xy_codec.moss.loading import assemble
from xy_codec.weights.checkpoint import Checkpoint

GROUP = Group("full")
# Of random company and of the comparison of speeds.
SECONDS = (1.7, 3.1, 4.4, 6.0, 7.3, 9.2)
Wave = np.ndarray


def full_codec(program: str) -> MossCodec:
    """The codec with the synthetic weights, checked against their digest."""
    digest = hashlib.sha256(f"{SCHEME}\n".encode())
    state = {}
    for key in sorted(GROUP.shapes):
        array = make_array(key, GROUP.shapes[key])
        update_digest(digest, key, array)
        state[key] = torch.from_numpy(array)
    assert digest.hexdigest() == GROUP.info["weights_sha256"]
    checkpoint = Checkpoint(GROUP.path, state, {}, "0" * 64)
    return assemble(GROUP.config, checkpoint, "cpu", {"program": program})


def seconds_of(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare_with_reference(codec: MossCodec) -> None:
    """Codes of all clips in one call, waveforms of every number of codebooks recorded."""
    cases = GROUP.cases("cases")
    encoded = codec.encode([inputs(GROUP.input(case))[0] for case in cases])
    for case, codes in zip(cases, encoded, strict=True):
        wrong, ties = wrong_codes(GROUP.recorded(case), codes)
        print(f"{case}: {codes.size} codes, {wrong} differ, {ties} ties", flush=True)
    for case in (*cases, *GROUP.cases("decode_cases")):
        expected = GROUP.recorded(case)
        codes, depths = expected["codes"].astype(np.int16), recorded_depths(expected)
        waves = codec.decode([codes[: depth or None] for depth in depths])
        errors = [wave_error(expected, *each) for each in zip(waves, depths, strict=True)]
        print(f"{case}: largest difference of a sample {max(errors, default=0.0):.1e}", flush=True)


def compare_with_company(codec: MossCodec, clips: list[Wave]) -> list[Wave]:
    """Codes of clips together, alone, in other order and with two threads; returns them."""
    together = codec.encode(clips)
    alone = [codec.encode([clip])[0] for clip in clips[:2]]
    print(f"alone: {count_wrong(alone, together)} of 2 clips differ", flush=True)
    with threads(2):
        swapped = codec.encode(clips[::-1])[::-1]
    wrong = count_wrong(swapped, together)
    print(f"reversed, two threads: {wrong} of {len(clips)} clips differ", flush=True)
    return together


def count_wrong(codes: list[Wave], wanted: list[Wave]) -> int:
    return sum(not np.array_equal(*pair) for pair in zip(codes, wanted, strict=False))


@torch.inference_mode()
def compare_with_batches(codec: MossCodec, clips: list[Wave], packed: list[Wave]) -> None:
    """Codes and time of the plain model at batch 1, and of one padded batch."""
    model, hop = codec.model, codec.shape.samples_per_frame
    made: list[Wave] = []

    def one_by_one() -> None:
        made.extend(model.encode(torch.from_numpy(clip)[None])[0].numpy() for clip in clips)

    padded = torch.zeros(len(clips), max(map(len, clips)))
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    times = {
        "packs": seconds_of(lambda: codec.encode(clips)),
        "batch 1": seconds_of(one_by_one),
        "padded batch": seconds_of(lambda: model.encode(padded)),
    }
    total = sum(len(clip) // hop for clip in clips) * hop / codec.shape.input_rate_hz
    for name, spent in times.items():
        print(
            f"{name}: {spent:.1f} s for {total:.1f} s of audio, {total / spent:.2f} x", flush=True
        )
    differ = sum(int((codes != wanted).sum()) for codes, wanted in zip(made, packed, strict=True))
    codes = sum(matrix.size for matrix in packed)
    print(f"packs against batch 1: {differ} of {codes} codes differ", flush=True)


def compare_programs(codec: MossCodec, clips: list[Wave], rounds: int) -> None:
    """Time of tiles and of packs of one shape, to encode and to decode, and what differs."""
    packs = copy.copy(codec)
    packs.geometry = codec.geometry.with_program("pack")
    total = sum(map(len, clips)) / codec.shape.input_rate_hz
    for way in ("encode", "decode"):
        inputs_of = clips if way == "encode" else codec.encode(clips)
        spent: dict[str, list[float]] = {"tiles": [], "pack": []}
        made: dict[str, list[Wave]] = {}
        for _ in range(rounds):
            for name, each in (("tiles", codec), ("pack", packs)):
                started = time.process_time()
                made[name] = getattr(each, way)(inputs_of)
                spent[name].append(time.process_time() - started)
        for name, seconds in spent.items():
            found = " ".join(f"{one:.2f}" for one in sorted(seconds))
            print(f"{way}, {len(clips)} clips, {total:.1f} s, {name}: {found} s of processor")
        differ = count_wrong(made["tiles"], made["pack"])
        print(f"{way}: {differ} of {len(clips)} clips differ", flush=True)


def noise_clips(codec: MossCodec) -> list[Wave]:
    rng, rate = np.random.default_rng(2), codec.shape.input_rate_hz
    return [
        (rng.standard_normal(int(seconds * rate)) * 0.1).astype(np.float32) for seconds in SECONDS
    ]


def main(program: str = "tiles", name: str = "full") -> None:
    torch.set_num_threads(1)
    if program == "speed":
        codec = full_codec("tiles") if name == "full" else small_codec(name)
        clips, rounds = noise_clips(codec), 2 if name == "full" else 5
        for few in (clips, clips[:1]):
            compare_programs(codec, few, rounds)
    else:
        codec = full_codec(program)
        compare_with_reference(codec)
        clips = noise_clips(codec)
        compare_with_batches(codec, clips, compare_with_company(codec, clips))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak of resident memory {peak / 1e9:.1f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
