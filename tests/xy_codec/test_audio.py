"""Audio into the codec: the same samples as torchaudio gives, and clear refusals."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.support.places import ROOT
from xy_codec.audio import RESAMPLER, check_rates, mono, read_audio, resample
from xy_codec.engine.threads import threads
from xy_codec.errors import AudioError
from xy_codec.torchaudio_import import import_torchaudio

RNG = np.random.default_rng(7)


def noise(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32) * 0.1


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("length", [1, 159, 24001])
def test_resampling_equals_torchaudio_bit_for_bit(rate_hz: int, length: int) -> None:
    wave = noise(length)
    expected = import_torchaudio().functional.resample(torch.from_numpy(wave), rate_hz, 16000)
    assert np.array_equal(resample(wave, rate_hz, 16000), expected.numpy())


def test_resampling_does_not_depend_on_threads() -> None:
    wave = noise(240_000)
    with threads(1):
        with_one = resample(wave, 24000, 16000)
    with threads(2):
        with_two = resample(wave, 24000, 16000)
    assert np.array_equal(with_one, with_two)


# A torchaudio whose compiled part cannot be loaded, as PyPI's wheel beside a CPU-only torch.
BROKEN_TORCHAUDIO = {
    "__init__.py": "from torchaudio import functional, _extension",
    "functional.py": "",
    "_extension.py": "import time; time.sleep(0.2); raise OSError('libcudart.so')",
}


def test_threads_that_need_torchaudio_at_once_get_the_same_module(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    for name, text in BROKEN_TORCHAUDIO.items():
        (tmp_path / "torchaudio" / name).write_text(text)
    code = (
        "import time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from xy_codec import torchaudio_import as subject\n"
        "forget = subject._forget_partial_import\n"
        "subject._forget_partial_import = lambda: (forget(), time.sleep(0.1))\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    modules = list(pool.map(lambda _: subject.import_torchaudio(), range(4)))\n"
        "assert len(set(modules)) == 1, modules\n"
    )
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


def test_same_rate_and_empty_audio_pass_through() -> None:
    wave = noise(10)
    assert resample(wave, 16000, 16000) is wave
    assert resample(wave[:0], 24000, 16000).shape == (0,)


def test_odd_rate_pairs_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(
        AudioError, match=r"22051 Hz to 16000 Hz needs a kernel of 1,3.. MiB.*-ar 22050"
    ):
        resample(noise(100), 22051, 16000)
    with pytest.raises(AudioError, match="not positive"):
        check_rates(0, 16000)


def test_mono_is_the_mean_of_the_channels() -> None:
    samples = noise(1000, 3)
    assert np.allclose(mono(samples), samples.mean(1), atol=1e-7)
    assert mono(samples[:, :1]).shape == (1000,)
    with pytest.raises(AudioError, match=r"shape \[2, 2, 2\]"):
        mono(noise(2, 2, 2))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_usual_files_become_mono_16_khz(kind: str, subtype: str | None) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(24000, 2), 24000, format=kind, subtype=subtype)
    file.seek(0)
    wave = read_audio(file, 16000)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 16000) < 2000


def test_a_file_that_is_no_audio_is_named() -> None:
    with pytest.raises(AudioError, match=r"Cannot read `/nowhere/x\.wav`"):
        read_audio("/nowhere/x.wav", 16000)


def test_the_resampler_has_a_name_for_the_identity() -> None:
    assert RESAMPLER.startswith("torchaudio-")
