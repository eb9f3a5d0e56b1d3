"""Packs of one shape at full size against the reference: `make prove-packs`.

Every recorded case of the three releases' sizes, encoded and decoded in `exact`: codes, waveforms,
and, for the sizes at 16 kHz, that samples are those of clips decoded one by one. Then `fast`, of
which nothing is recorded: the share of codes unlike those of tiles and of the reference, on six
clips that nearly fill a pack.

Needs the full-size groups of the complete golden outputs and 6 GB of memory. `XYTOK_TEST_THREADS`
is 2 unless set; `prove_packs.py fast full_xy:0` does these parts only, cases with overlap 0 of the
second one. Prints a line a question, for RESULTS.md.
"""

import copy
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tests.support.golden_case import (
    Group,
    checkpoint_of,
    compare_codes,
    inputs,
    recorded,
    wave_error,
)
from xy_codec.engine.geometry import Geometry, geometry_for
from xy_codec.engine.windows import WindowPlan
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.state_dict import build_model

GROUPS = ("full_xy", "full_ttsd24", "full_ttsd32")
ALONE_CASES = ("speech4", "speech5")
# 34.6 s of the 41 s of a pack.
FAST_CASES = tuple(f"speech{number}" for number in range(6))
CPU = torch.device("cpu")
Coded = Mapping[str, list[np.ndarray]]


def full_codec(group: Group) -> PackedCodec:
    """The codec of a group in packs of one shape."""
    config = CodecConfig.from_mapping(group.info["params"])
    return assemble(config, checkpoint_of(group), device="cpu", options={"program": "pack"})


def encode_cases(codec: PackedCodec, group: Group, overlap: float) -> Coded:
    """Codes of all cases, whose clips lie in the same packs; prints what is unlike the recorded."""
    waves = {
        case: inputs(group.info["cases"][case])
        for case in group.cases("cases")
        if group.info["cases"][case]["overlap_seconds"] == overlap
    }
    coded: dict[str, list[np.ndarray]] = {case: [] for case in waves}
    found: dict[tuple[str, int], np.ndarray] = {}
    clips = (((case, i), wave) for case, own in waves.items() for i, wave in enumerate(own))
    for (case, number), encoded in codec.encode_stream(clips):
        found[case, number] = encoded.codes
        own = [found.get((case, i)) for i in range(len(waves[case]))]
        if all(codes is not None for codes in own):
            coded[case] = [found[case, i] for i in range(len(own))]
            wrong, ties = compare_codes(recorded(group, case), coded[case])
            frames = sum(codes.shape[1] for codes in coded[case])
            print(f"{group.name} {case}: {frames} frames, {wrong} wrong, {ties} ties", flush=True)
    return coded


def recorded_codes(group: Group, overlap: float) -> Coded:
    """The codes of cases that are for decoding alone."""
    found = {}
    for case in group.cases("decode_cases"):
        if group.info["decode_cases"][case]["overlap_seconds"] == overlap:
            expected = recorded(group, case)
            keys = [key for key in expected if key.startswith("codes/")]
            found[case] = [expected[key].astype(np.int16) for key in keys]
    return found


def decode_cases(codec: PackedCodec, group: Group, coded: Coded, overlap: float) -> None:
    """Waveforms of all cases, in the same packs, against the recorded samples."""
    if not coded:
        return
    packs, started = codec.counters.packs_run, time.process_time()
    waves = codec.decode([codes for each in coded.values() for codes in each])
    packs, spent = codec.counters.packs_run - packs, time.process_time() - started
    left = iter(waves)
    for case, codes in coded.items():
        error = wave_error(codec, recorded(group, case), [next(left) for _ in codes], overlap)
        print(f"{group.name} {case}: largest difference of a sample {error:.1e}", flush=True)
    seconds = sum(codes.shape[1] for each in coded.values() for codes in each) / 12.5
    print(f"{group.name}: {seconds:.0f} s decoded in {packs} packs, {spent:.0f} s of processor")


def compare_with_clips(codec: PackedCodec, coded: Coded) -> None:
    """The program of a pack against tiles of its size, which decode clip by clip."""
    tiles = copy.copy(codec)
    steps = codec.geometry.tile_steps
    tiles.geometry = Geometry(steps, steps)
    codes = [each[0] for each in coded.values()]
    pairs = zip(codec.decode(codes), tiles.decode(codes), strict=True)
    differ = sum(not np.array_equal(a, b) for a, b in pairs)
    print(f"decoded clip by clip: {differ} of {len(codes)} clips have other samples", flush=True)


def compare_fast(group: Group, cases: Sequence[str]) -> None:
    """Codes of `fast` in packs of one shape, and in tiles, against the recorded ones."""
    exact = full_codec(group)
    config, identity, plan = exact.config, exact.identity, exact.plan
    del exact
    model = build_model(config, checkpoint_of(group))
    geometry = geometry_for(CPU, "pack")
    codec = PackedCodec(model, torch.float16, identity, plan, CPU, geometry)
    waves = [wave for case in cases for wave in inputs(group.info["cases"][case])]
    started = time.process_time()
    packed = np.concatenate(codec.encode(waves), axis=1)
    spent, packs = time.process_time() - started, codec.counters.packs_run
    tiles = copy.copy(codec)
    tiles.geometry = Geometry(geometry.tile_steps, geometry.pack_steps)
    unlike = int((np.concatenate(tiles.encode(waves), axis=1) != packed).sum())
    wanted = [recorded(group, case)["codes/0"].astype(np.int16) for case in cases]
    differs = np.concatenate(wanted, axis=1) != packed
    shares = " ".join(f"{100 * share:.2f}" for share in differs.mean(axis=1))
    print(
        f"fast: {packed.shape[1]} frames, {unlike} of {packed.size} codes unlike tiles, "
        f"{100 * differs.mean():.2f} % unlike the reference, by codebook {shares}; "
        f"{packs} pack of {geometry.pack_steps} steps, {spent:.0f} s of processor",
        flush=True,
    )


def compare_exact(group: Group, overlaps: Sequence[int]) -> None:
    """All recorded cases of a group with these overlaps."""
    codec = full_codec(group)
    assert codec.geometry == geometry_for(CPU, "pack")
    for overlap in overlaps:
        codec.plan = WindowPlan.of(16000, 30, 1280, overlap)
        coded = encode_cases(codec, group, overlap)
        decode_cases(codec, group, {**coded, **recorded_codes(group, overlap)}, overlap)
        if group.name == GROUPS[0] and overlap == 10:
            compare_with_clips(codec, {case: coded[case] for case in ALONE_CASES})


def main(*parts: str) -> None:
    torch.set_num_threads(int(os.environ.get("XYTOK_TEST_THREADS", "2")))
    for part in parts or (*GROUPS, "fast"):
        name, _, overlap = part.partition(":")
        if name == "fast":
            compare_fast(Group(GROUPS[0]), FAST_CASES)
        else:
            compare_exact(Group(name), [int(overlap)] if overlap else (10, 0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak of resident memory {peak / 1e9:.1f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
