"""The plain model: padded batches, gradients, and the same codec as the packs."""

import numpy as np
import pytest
import torch

from tests.support.moss_case import Group, small_codec
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.patch import Patch, Unpatch

LENGTHS = [40_000, 19_200, 7_777, 700]


@pytest.fixture(scope="module")
def model() -> MossAudioTokenizer:
    return Group("small4w").model()


@pytest.fixture(scope="module")
def waves() -> torch.Tensor:
    random = torch.Generator().manual_seed(8)
    return torch.randn(len(LENGTHS), max(LENGTHS), generator=random) * 0.1


@torch.inference_mode()
def test_padded_batches_give_the_codes_and_waveforms_of_packs(
    model: MossAudioTokenizer, waves: torch.Tensor
) -> None:
    codec = small_codec("small4w")
    clips = [wave[:length].numpy() for wave, length in zip(waves, LENGTHS, strict=True)]
    packed = codec.encode(clips)
    # What stands behind a clip's end changes nothing, so the batch need not be silent there.
    codes = model.encode(waves)
    assert codes.shape == (4, 32, 20)
    for ours, wanted in zip(codes, packed, strict=True):
        assert np.array_equal(ours[:, : wanted.shape[1]].numpy(), wanted)
    decoded = model(waves)
    for ours, wave in zip(decoded, codec.decode(packed), strict=True):
        np.testing.assert_allclose(ours[: len(wave)].numpy(), wave, atol=1e-5)


@torch.inference_mode()
def test_the_first_codebooks_are_those_of_all(
    model: MossAudioTokenizer, waves: torch.Tensor
) -> None:
    whole = model.encode(waves[:1])
    for count in (1, 5):
        assert torch.equal(model.encode(waves[:1], count), whole[:, :count])


def test_gradients_reach_every_parameter() -> None:
    model = Group("small3").model().requires_grad_(True)
    frames = model.embed(torch.randn(2, 4 * 1280))
    books = model.quantizer.codebooks()
    residual = frames
    for book in books:
        _, residual = book.choose(residual)
    decoded = model.quantizer.decode(torch.randint(300, (2, 4, len(books))))
    for stage in model.decoder:
        decoded = stage(decoded)
    (decoded.sum() + residual.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_patches_keep_channels_outside_and_steps_inside() -> None:
    steps = torch.tensor([[[1, 10], [2, 20], [3, 30], [4, 40]]])
    patched = Patch(2)(steps)
    assert patched.tolist() == [[[1, 2, 10, 20], [3, 4, 30, 40]]]
    assert torch.equal(Unpatch(2)(patched), steps)
