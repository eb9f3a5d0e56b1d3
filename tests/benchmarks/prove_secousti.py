"""SecoustiCodec against every recorded output of its reference: `make prove-secousti`.

Prints the tables of RESULTS.md. Needs the complete golden outputs and 3 GB of memory; ten minutes
on one core.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

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
    complete,
    vocoder_mel,
)

NAMES = ("small_21", "small_86", "full_21", "full_86")
# Of the clips that are timed: four tiles of tokens at 21.53 Hz, nearly full.
SECONDS = (3.0, 9.0, 12.0, 5.0, 17.0, 6.0, 20.0, 22.0)


def main() -> int:
    torch.set_num_threads(1)
    groups = [group for group in map(complete, NAMES) if group.folder != BUNDLED]
    if len(groups) < len(NAMES):
        print("The recorded outputs are not there; set `XYTOK_GOLDEN`, see tests/golden/README.md")
        return 1
    print(f"| group | cases | tokens | wrong | ties below {TIE} | {' | '.join(LIMITS)} | seconds |")
    print("|---" * (len(LIMITS) + 6) + "|")
    failed = max(_prove(group) for group in groups)
    for group in groups[2:]:
        _compare_speed(group)
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
    encoded = codec.encode_with_side(clips[:1])
    decoding = _processor_seconds(
        lambda: codec.decode([encoded[0].codes], side=[encoded[0].side], keys=["a"])
    )
    print(f"{group.name}, decode of {SECONDS[0]} s: {decoding:.2f} s")


def _processor_seconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
