"""The losses see what they should and nothing behind the end of a clip."""

import warnings
from collections import defaultdict
from typing import Any

import torch

from tests.support.training_case import tiny_model, vocos_head
from xy_codec.hub.packages import import_model
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.adversarial_loss import adversarial_loss, discriminator_loss, feature_loss
from xy_codec.training.discriminator import Discriminators, SpectrogramDiscriminator
from xy_codec.training.recipe import DiscriminatorConfig, SpectralConfig
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.training_codec import TrainingCodec

THIN = DiscriminatorConfig(
    periods=(2,), period_width=2, num_scales=2, scale_width=2, stft_windows=(256,), stft_width=4
)


def waves(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(seed))


def test_equal_waves_are_no_distance_apart():
    for log in (False, True):
        loss = SpectralLoss(SpectralConfig(log=log), 16000)
        assert (loss(waves(), waves()) == 0).all()
        assert (loss(waves(), waves(1)) > 0.01).all()


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
    assert ((loud - quiet).abs() < 0.1 * loud).all()


def test_discriminators_learn_to_tell_noise_from_tones():
    torch.manual_seed(0)
    judges = Discriminators(THIN)
    tone = torch.sin(torch.arange(8000) * 0.3).repeat(2, 1)
    optimizer = torch.optim.Adam(judges.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = discriminator_loss(judges(tone), judges(waves())).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_feature_loss_is_relative_to_the_real_features():
    judges = Discriminators(THIN)
    real, made = judges(waves()), judges(waves(1))
    assert (feature_loss(real, real) == 0).all()
    assert (feature_loss(real, made) > 0.01).all()
    assert (feature_loss(real, made) < 10).all()
    assert (adversarial_loss(made) > 0).all()


def test_the_reconstruction_is_the_sum_over_the_papers_seven_windows():
    config = SpectralConfig()
    assert config.windows == tuple(2**power for power in range(5, 12))
    alone = [
        SpectralLoss(SpectralConfig((window,), (bands,)), 16000)(waves(1), waves())
        for window, bands in zip(config.windows, config.num_mels, strict=True)
    ]
    every = SpectralLoss(config, 16000)(waves(1), waves())
    torch.testing.assert_close(every, torch.stack(alone).sum(0))


def test_a_clip_counts_the_same_whatever_its_company():
    loss = SpectralLoss(SpectralConfig((256,), (20,), log=True), 16000)
    lengths = torch.tensor([3000, 8000])
    both = loss(waves(1), waves(), lengths)
    for number in range(2):
        one = slice(number, number + 1)
        torch.testing.assert_close(loss(waves(1)[one], waves()[one], lengths[one]), both[one])


def test_the_commitment_is_the_sum_over_codebooks_of_what_is_no_padding():
    torch.manual_seed(0)
    codec = TrainingCodec(tiny_model())
    books = codec.model.quantizer.codebooks()
    for book in books:
        book.codebook.normal_()
    lengths = torch.tensor([4 * 1280, 12 * 1280])
    noise = waves(2).repeat(1, 2)[:, : 12 * 1280]
    made = codec(noise, lengths)
    residual, expected = made.latents.detach(), torch.zeros(2)
    for book, chosen in zip(books, made.indices, strict=True):
        residual = residual - book.codebook[chosen]
        # Each residual is what the codebook before it missed; frames of the first clip come first.
        expected += torch.stack([residual[:4].abs().mean(), residual[4:].abs().mean()])
    torch.testing.assert_close(made.commitment.detach(), expected)


def test_the_default_discriminators_are_those_of_speechtokenizer():
    import_torchaudio()
    theirs = import_model("speechtokenizer", "discriminators", "speechtokenizer")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its weight norm is torch's old one
        made = (
            theirs.MultiPeriodDiscriminator(),
            theirs.MultiScaleDiscriminator(),
            theirs.MultiScaleSTFTDiscriminator(32),
        )
    ours = Discriminators(DiscriminatorConfig()).eval()
    parts: dict[str, list[Any]] = defaultdict(list)
    for each in ours.parts:
        parts[type(each).__name__].append(each)
    parts["SpectrogramDiscriminator"].sort(key=lambda each: (each.window != 1024, -each.window))
    wave = waves()[:1, :2100]
    for family, kind in zip(made, parts.values(), strict=True):
        family.eval()
        for mine, other in zip(kind, family.discriminators, strict=True):
            take_weights(mine, other)
        scores, _, features, _ = family(wave[:, None], wave[:, None])
        for mine, score, maps in zip(kind, scores, features, strict=True):
            judged = mine(wave)
            torch.testing.assert_close(judged.scores.flatten(1), score.flatten(1))
            assert len(judged.features) == len(maps)
            for a, b in zip(judged.features, maps, strict=True):
                torch.testing.assert_close(a, b)


def take_weights(mine: Any, theirs: Any) -> None:
    layers = [*theirs.convs, theirs.conv_post]
    own = [*mine.chain.layers, mine.chain.last]
    if isinstance(mine, SpectrogramDiscriminator):
        own = [mine.first, *own]
        layers = [each.conv for each in layers]
    for to, source in zip(own, layers, strict=True):
        found = dict(source.state_dict())
        to.bias.data.copy_(found["bias"])
        if "weight_g" in found:
            to.parametrizations.weight.original0.data.copy_(found["weight_g"])
            to.parametrizations.weight.original1.data.copy_(found["weight_v"])
        elif "weight_orig" in found:
            to.parametrizations.weight.original.data.copy_(found["weight_orig"])
            to.parametrizations.weight[0]._u.copy_(found["weight_u"])
            to.parametrizations.weight[0]._v.copy_(found["weight_v"])
        else:
            to.weight.data.copy_(found["weight"])


def test_the_phase_is_made_in_float32_under_autocast():
    torch.manual_seed(0)
    head = vocos_head(tiny_model())
    with torch.no_grad():
        head.out.bias[321:] = torch.linspace(0, 12, 321)  # the phases
    steps = torch.randn(1, 8, 16)
    plain = head(steps)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(steps), plain)
