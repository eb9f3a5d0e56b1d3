"""The 520 million parameter models against the reference; one is in memory at a time.

`XYTOK_ALL_GOLDEN=1` runs every recorded case (about 20 minutes on two cores) instead of a choice;
`XYTOK_TEST_THREADS` is 2 unless set.
"""

import copy
import os
from collections.abc import Iterator

import pytest

from tests.support.golden_case import (
    WITHOUT_GOLDEN,
    Group,
    checkpoint_of,
    compare_codes,
    inputs,
    recorded,
    wave_error,
)
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.threads import threads
from xy_codec.engine.windows import WindowPlan
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec

CHOSEN = {
    "full_xy": ["speech5", "synth1281_ov10", "synth320001_ov10", "batch6", "codes_mixed_ov10"],
    "full_ttsd32": ["codes3_ov10", "speech5"],
    "full_ttsd24": ["codes1_ov10"],
}
# One pack of one shape takes as long as 41 s of audio, whatever is in it.
IN_ONE_PACK = ("batch6", "codes_mixed_ov10")
pytestmark = pytest.mark.slow


def chosen(group: Group) -> list[tuple[str, str]]:
    """Kind and name of the cases to run."""
    cases = [(kind, name) for kind in ("cases", "decode_cases") for name in group.cases(kind)]
    if os.environ.get("XYTOK_ALL_GOLDEN"):
        return cases
    return [(kind, name) for kind, name in cases if name in CHOSEN[group.name]]


def with_overlap(codec: PackedCodec, overlap: float) -> PackedCodec:
    """The same model with other windows, without loading it again."""
    codec.plan = WindowPlan.of(16000, 30, 1280, overlap)
    return codec


def in_packs_of_one_shape(codec: PackedCodec) -> PackedCodec:
    """The same model once more, with the same weights."""
    other = copy.copy(codec)
    other.geometry = geometry_for(codec.device, "pack")
    return other


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threads(int(os.environ.get("XYTOK_TEST_THREADS", "2"))):
        yield


@pytest.mark.parametrize("name", list(CHOSEN))
def test_full_size_models_give_the_recorded_codes_and_waveforms(
    name: str, two_threads: None
) -> None:
    group = Group(name)
    if not group.exists:
        pytest.skip(WITHOUT_GOLDEN)
    codec = assemble(
        CodecConfig.from_mapping(group.info["params"]), checkpoint_of(group), device="cpu"
    )
    for kind, case in chosen(group):
        info, expected = group.info[kind][case], recorded(group, case)
        overlap = info["overlap_seconds"]
        codec = with_overlap(codec, overlap)
        if kind == "cases":
            codes = codec.encode(inputs(info))
            clear, ties = compare_codes(expected, codes)
        else:
            codes = [expected[f"codes/{i}"].astype("int16") for i in range(len(info["codes"]))]
            clear = ties = 0
        error = wave_error(codec, expected, codec.decode(codes), overlap)
        frames = sum(matrix.shape[1] for matrix in codes)
        print(
            f"{name} {case}: {frames} frames, {clear} wrong, {ties} ties, wave {error:.1e}",
            flush=True,
        )
        assert (clear, ties) == (0, 0)
        assert error < 1e-3
        if case in IN_ONE_PACK:
            packed = in_packs_of_one_shape(codec)
            if kind == "cases":
                assert compare_codes(expected, packed.encode(inputs(info))) == (0, 0)
            assert wave_error(packed, expected, packed.decode(codes), overlap) < 1e-3
