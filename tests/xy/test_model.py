"""The plain model: padded batches, gradients, and the same codec as the packed engine."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.golden_case import Group, checkpoint_of, small_codec
from xy_codec.errors import AudioError
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.state_dict import build_model
from xy_codec.xy.transformer import Attention

CONFIG = CodecConfig.from_mapping(Group("small_xy").info["params"])
LENGTHS = [32_000, 20_480, 7_777, 700]


def small_model() -> XYTokenizer:
    return build_model(CONFIG, checkpoint_of(Group("small_xy")))


@pytest.fixture(scope="module")
def model() -> XYTokenizer:
    return small_model()


@pytest.fixture(scope="module")
def waves() -> torch.Tensor:
    """A batch whose clips end at `LENGTHS`, with zeros behind them."""
    random = torch.Generator().manual_seed(8)
    batch = torch.randn(len(LENGTHS), max(LENGTHS), generator=random) * 0.1
    return batch * (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None])


@torch.inference_mode()
def test_padded_batches_give_the_codes_and_waveforms_of_packs(
    model: XYTokenizer, waves: torch.Tensor
) -> None:
    codec = small_codec("small_xy", 10.0)
    clips = [wave[:length].numpy() for wave, length in zip(waves, LENGTHS, strict=True)]
    packed = codec.encode(clips)
    codes = model.encode(waves, torch.tensor(LENGTHS))
    frames = [length // 1280 for length in LENGTHS]
    assert codes.shape == (4, 8, 25)
    for ours, wanted, count in zip(codes, packed, frames, strict=True):
        assert np.array_equal(ours[:, :count].numpy(), wanted)
    decoded = model(waves, torch.tensor(LENGTHS))
    for ours, wave in zip(decoded, codec.decode(packed), strict=True):
        # The frame behind a clip's end overlaps its last samples.
        clean = len(wave) if len(wave) == len(ours) else max(0, len(wave) - 240)
        np.testing.assert_allclose(ours[:clean].numpy(), wave[:clean], atol=1e-5)


@torch.inference_mode()
def test_a_whole_window_is_encoded_and_more_is_refused(model: XYTokenizer) -> None:
    wave = torch.randn(1, 480_000, generator=torch.Generator().manual_seed(1)) * 0.1
    packed = small_codec("small_xy", 0.0).encode([wave[0].numpy()])[0]
    assert np.array_equal(model.encode(wave)[0].numpy(), packed)
    with pytest.raises(AudioError, match="480160 samples; expected at most 480000"):
        model.encode(F.pad(wave, (0, 160)))


@torch.inference_mode()
def test_the_first_codebooks_can_be_decoded_alone(model: XYTokenizer) -> None:
    codes = torch.randint(1024, (1, 8, 5), generator=torch.Generator().manual_seed(2))
    packed = small_codec("small_xy", 10.0).decode([codes[0, :2].numpy()])[0]
    np.testing.assert_allclose(model.decode(codes[:, :2])[0].numpy(), packed, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    model = small_model().requires_grad_(True)
    frames = model.embed(torch.randn(2, 80, 80), torch.tensor([40, 28]))
    quantized = model.quantizer.output_proj(model.quantizer.input_proj(frames))
    model.reconstruct(quantized, torch.tensor([10, 7])).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[12, 12], [12, 7]])
def test_attention_is_that_of_torch(lengths: list[int]) -> None:
    torch.manual_seed(0)
    attention, steps = Attention(48, 2), torch.randn(2, 12, 48)
    valid = torch.arange(12) < torch.tensor(lengths)[:, None]
    query, key, value = (
        projection(steps).view(2, 12, 2, 24).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    fused = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
    expected = attention.out_proj(fused.transpose(1, 2).reshape(2, 12, 48))
    given = None if min(lengths) == 12 else valid
    torch.testing.assert_close(attention(steps, given), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_empty_clip_in_a_batch_gives_no_nan(model: XYTokenizer) -> None:
    made = model(torch.zeros(2, 2560), torch.tensor([2560, 0]))
    assert torch.isfinite(made).all()
