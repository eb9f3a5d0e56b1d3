import json
import subprocess
import sys
import time
import warnings
from dataclasses import asdict

import numpy as np
import pesq as pesq_package
import pystoi
import pytest

from pipeline.audit.findings import METRIC_NAMES
from pipeline.audit.metrics import acoustics
from pipeline.audit.metrics.dnsmos import dnsmos
from pipeline.audit.metrics.reasons import NotMeasurable
from pipeline.audit.metrics.scores import GROUPS, USUAL_GROUPS, check_groups, score_pair
from pipeline.audit.metrics.speaker_similarity import load_speaker_model
from pipeline.audit.metrics.stoi_and_pesq import pesq, stoi
from pipeline.errors import UsageError
from tests.support.places import GOLDEN
from tests.support.speech_pairs import damage, speech_pairs
from xy_codec.audio import resample

EXPECTED = GOLDEN / "audit/pair_scores.json"
FAST = ("stoi", "pesq", "acoustics")


def score_everything() -> list[dict[str, float]]:
    speaker = load_speaker_model()
    groups = (*FAST, "sim")  # DNSMOS is held to its package by a slow test
    scored = (score_pair(*pair, groups=groups, speaker=speaker) for pair in speech_pairs())
    return [asdict(pair.scores) for pair in scored]


def test_scores_of_the_fixed_set_are_golden():
    """Rewrite the file with `python tests/audit/test_scores.py` only for a reason."""
    found = score_everything()
    for scores, expected in zip(found, json.loads(EXPECTED.read_text()), strict=True):
        assert scores == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("index", range(4))
def test_stoi_equals_the_package(index):
    pair = speech_pairs()[index]
    assert stoi(*pair) == pytest.approx(pystoi.stoi(*pair, 16000), abs=1e-6)


@pytest.mark.parametrize("seconds", [0.7, 1.01, 1.0001])
def test_stoi_of_short_audio_equals_the_package_or_is_too_short(seconds):
    pair = [side[8000 : 8000 + int(16000 * seconds)] for side in speech_pairs()[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the package warns where we give a reason
        expected = pystoi.stoi(*pair, 16000)
    if expected == 1e-5:
        with pytest.raises(NotMeasurable, match="too_short"):
            stoi(*pair)
    else:
        assert stoi(*pair) == pytest.approx(expected, abs=1e-6)


def test_scoring_starts_without_slow_imports():
    """A process that scores begins anew in every audit and evaluation."""
    script = (
        "import sys, numpy as np\n"
        "from pipeline.audit.metrics.scores import score_pair\n"
        "noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)\n"
        f"score_pair(noise, noise, 16000, groups={FAST})\n"
        "print('scipy.signal' in sys.modules, 'scipy.stats' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("band", ["nb", "wb"])
def test_pesq_equals_the_package(band):
    for pair in speech_pairs():
        assert pesq(*pair, band) == pytest.approx(pesq_package.pesq(16000, *pair, band), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 9.5, 12.0])
def test_dnsmos_equals_the_package(seconds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa's own imports
        from speechmos import dnsmos as package
    samples = np.tile(speech_pairs()[0][0], 4)[: int(16000 * seconds)]
    expected = package.run(samples, 16000)
    found = dnsmos(samples)
    assert found == pytest.approx((expected["ovrl_mos"], expected["p808_mos"]), abs=1e-5)


def test_identical_audio_scores_perfectly():
    original = speech_pairs()[0][0]
    scores = score_pair(original, original, groups=FAST).scores
    assert scores.stoi == pytest.approx(1.0)
    assert scores.pesq_wb is not None
    assert scores.pesq_wb > 4.6
    assert (scores.log_mel_distance_db, scores.f0_error_cents, scores.gain_db) == (0, 0, 0)
    assert scores.voicing_agreement == 1


def test_length_difference_is_told_and_not_trimmed_away():
    original = speech_pairs()[0][0]
    scored = score_pair(original, original[:-1000], groups=("stoi",))
    assert scored.scores.length_difference_seconds == pytest.approx(-1000 / 16000)
    assert scored.scores.stoi == pytest.approx(1.0)


def test_gain_is_found_in_decibels():
    original = speech_pairs()[0][0]
    scores = score_pair(original, original * 10 ** (3 / 20), groups=("acoustics",)).scores
    assert scores.gain_db == pytest.approx(3.0, abs=1e-4)


def test_rate_of_the_pair_hardly_matters():
    original, damaged = speech_pairs()[0]
    up, damaged_up = (resample(side, 16000, 24000) for side in (original, damaged))
    found = score_pair(up, damaged_up, 24000, groups=("stoi",)).scores.stoi
    assert found == pytest.approx(stoi(original, damaged), abs=5e-3)


@pytest.mark.parametrize("hz", [80.0, 123.4, 220.0, 350.0])
def test_f0_of_a_known_tone_is_its_own(hz):
    time = np.arange(16000) / 16000
    tone = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 8))
    track = acoustics.pitch_hz((0.1 * tone).astype(np.float32))
    assert (track[3:-3] > 0).mean() > 0.9
    assert np.median(track[track > 0]) == pytest.approx(hz, rel=0.005)


def test_f0_of_a_pitched_copy_is_off_by_its_interval():
    original = speech_pairs()[0][0]
    higher = resample(original, 17000, 16000)  # about 105 cents up when played at 16 kHz
    left, right = acoustics.pitch_hz(original), acoustics.pitch_hz(higher)
    medians = [np.median(track[track > 0]) for track in (left, right)]
    assert 1200 * np.log2(medians[1] / medians[0]) == pytest.approx(105, abs=25)


def test_the_shift_of_f0_is_that_of_a_known_tone():
    hz = 150.0 * np.array([1, 2 ** (1 / 12)])
    time = np.arange(16000) / 16000
    low, high = (
        acoustics.pitch_hz(
            (0.1 * sum(np.sin(2 * np.pi * f * k * time) for k in (1, 2, 3))).astype("f")
        )
        for f in hz
    )
    assert acoustics.f0_shift_cents(low, high) == pytest.approx(100, abs=5)
    assert acoustics.f0_shift_cents(high, low) == pytest.approx(-100, abs=5)


CLICK = np.pad(0.1 * np.random.default_rng(0).standard_normal(800), (8000, 23200))


def test_sound_too_faint_for_pesq_has_a_reason():
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    scored = score_pair(0.01 * noise, noise * np.float32(1e-30), groups=("pesq",))
    assert scored.reasons["pesq_nb"] == scored.reasons["pesq_wb"] == "non_finite"


@pytest.mark.parametrize(
    ("samples", "reasons"),
    [
        (np.zeros(0), {"stoi": "too_short", "pesq_wb": "too_short", "sim": "not_asked"}),
        (np.zeros(16000), {"stoi": "silent", "pesq_nb": "silent", "gain_db": "silent"}),
        (np.full(16000, np.nan), {"stoi": "non_finite", "voicing_agreement": "non_finite"}),
        (np.full(3999, 0.1), {"pesq_wb": "too_short", "stoi": "too_short"}),
        (CLICK, {"pesq_nb": "no_utterance", "pesq_wb": "no_utterance"}),
        (np.eye(1, 16000, 8000)[0], {"f0_error_cents": "no_voiced_frames"}),
    ],
)
def test_every_missing_figure_has_a_reason(samples, reasons):
    audio = samples.astype(np.float32)
    scored = score_pair(audio, audio, groups=FAST)
    missing = {name for name in METRIC_NAMES if getattr(scored.scores, name) is None}
    assert missing == set(scored.reasons)
    assert {name: scored.reasons[name] for name in reasons} == reasons


def test_metrics_option_names_what_it_does_not_know():
    assert check_groups("pesq, stoi") == ("stoi", "pesq")
    assert set(GROUPS) - set(check_groups(None)) == {"dnsmos"}
    assert check_groups(None) == USUAL_GROUPS
    with pytest.raises(UsageError, match=r"pisq.*expected"):
        check_groups("pisq,stoi")


class SlowVoices:
    """A speaker model that takes its time."""

    name = "slow"

    def embed(self, waveforms):
        time.sleep(0.2)
        return [np.array([1, 0], np.float32) for _ in waveforms]


def test_each_group_is_charged_its_own_seconds():
    pair = speech_pairs()[0]
    started = time.perf_counter()
    seconds = score_pair(*pair, groups=("sim", "acoustics"), speaker=SlowVoices()).seconds
    spent = time.perf_counter() - started
    assert seconds["sim"] >= 0.2
    assert seconds["acoustics"] > seconds["dnsmos"] >= 0
    assert sum(seconds.values()) <= spent
    assert set(GROUPS) <= set(seconds)


def test_damage_lowers_every_reference_metric():
    original, damaged = speech_pairs()[1]
    once = score_pair(original, damaged, groups=FAST).scores
    twice = score_pair(original, damage(damage(damaged)), groups=FAST).scores
    assert once.stoi is not None
    assert twice.stoi is not None
    assert once.stoi > twice.stoi
    assert once.log_mel_distance_db is not None
    assert twice.log_mel_distance_db is not None
    assert once.log_mel_distance_db < twice.log_mel_distance_db


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(score_everything(), indent=1) + "\n")
