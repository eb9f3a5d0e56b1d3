"""The vocoder in pieces against the plain one, and the middle of a clip against its definition."""

import numpy as np
import pytest
import torch

from tests.support.secousti_case import Group, model_of
from xy_codec.secousti.noise import noise_states, start_phases
from xy_codec.secousti.paralinguistic import middle
from xy_codec.secousti.vocoder_pieces import PIECE_FRAMES, pitch_of, vocode
from xy_codec.secousti.vocoder_tile import CONTEXT_FRAMES

KEPT = PIECE_FRAMES - 2 * CONTEXT_FRAMES


@torch.inference_mode()
@pytest.mark.parametrize("num_frames", [1, 14, KEPT, KEPT + 1, 2 * KEPT + 3])
def test_pieces_make_the_waveform_of_the_whole(num_frames: int) -> None:
    vocoder = model_of(Group("small_21")).vocoder
    mel = 1.3 * torch.randn(80, num_frames, generator=torch.Generator().manual_seed(num_frames))
    pitch = vocoder.pitch(mel[None])
    torch.testing.assert_close(pitch_of(vocoder, mel.T), pitch[0], rtol=1e-5, atol=1e-3)
    noise = vocoder.source.noise(torch.from_numpy(noise_states("k", 0, num_frames)))
    noisy = vocoder.source(pitch, torch.from_numpy(start_phases("k")), noise)
    for key, source in ((None, vocoder.source(pitch)), ("k", noisy)):
        whole = vocoder.filter(mel[None], vocoder.spectrum(source))[0]
        pieces = vocode(vocoder, mel.T, pitch[0], key)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_the_phase_of_a_long_tone_does_not_drift() -> None:
    source = model_of(Group("small_21")).vocoder.source
    pitch = torch.full((1, 4000), 441.0)  # a period of 50 samples
    turns = source.turns_before(pitch)
    expected = torch.arange(4000, dtype=torch.float64) * 256 / 50
    torch.testing.assert_close(turns[0, :, 0], expected, rtol=1e-7, atol=0)
    samples = source(pitch)[0]
    torch.testing.assert_close(samples[:50], samples[200_000:200_050], rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("num_frames", "start", "stop"),
    [(1, 0, 1), (100, 0, 100), (101, 1, 101), (120, 30, 120), (200, 150, 200), (250, 225, 250),
     (299, 298, 299), (300, 0, 300), (301, 0, 300), (1347, 523, 823)],
)  # fmt: skip
def test_the_middle_of_short_clips_is_counted_as_the_release_counts(
    num_frames: int, start: int, stop: int
) -> None:
    assert np.arange(num_frames)[middle(num_frames)].tolist() == list(range(start, stop))
