"""The losses see what they should and nothing behind the end of a clip."""

import torch

from xy_codec.training.adversarial_loss import adversarial_loss, discriminator_loss, feature_loss
from xy_codec.training.discriminator import Discriminators
from xy_codec.training.recipe import DiscriminatorConfig, SpectralConfig
from xy_codec.training.spectral_loss import SpectralLoss

THIN = DiscriminatorConfig(
    periods=(2, 3), period_width=2, num_scales=2, scale_width=2, stft_windows=(256,), stft_width=4
)


def waves(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(seed))


def test_equal_waves_are_no_distance_apart():
    for log in (False, True):
        loss = SpectralLoss(SpectralConfig(log=log), 16000)
        assert loss(waves(), waves()) == 0
        assert loss(waves(), waves(1)) > 0.01


def test_what_follows_a_clip_does_not_count():
    loss = SpectralLoss(SpectralConfig((256, 1024), (20, 40), log=True), 16000)
    lengths = torch.tensor([4000, 8000])
    made = waves(1)
    changed = made.clone()
    changed[0, 4000 + 1024 :] = 0.7
    torch.testing.assert_close(loss(made, waves(), lengths), loss(changed, waves(), lengths))


def test_the_logarithmic_loss_hears_quiet_clips_as_well_as_loud_ones():
    loss = SpectralLoss(SpectralConfig((512,), (40,), log=True), 16000)
    loud, quiet = loss(waves(), waves(1)), loss(0.05 * waves(), 0.05 * waves(1))
    assert abs(loud - quiet) < 0.1 * loud


def test_discriminators_learn_to_tell_noise_from_tones():
    torch.manual_seed(0)
    judges = Discriminators(THIN)
    tone = torch.sin(torch.arange(8000) * 0.3).repeat(2, 1)
    optimizer = torch.optim.Adam(judges.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = discriminator_loss(judges(tone), judges(waves()))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_feature_loss_is_relative_to_the_real_features():
    judges = Discriminators(THIN)
    real, made = judges(waves()), judges(waves(1))
    assert feature_loss(real, real) == 0
    assert 0.01 < feature_loss(real, made) < 10
    assert adversarial_loss(made) > 0
