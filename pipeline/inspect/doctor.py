"""The checks of `xytok doctor`: each says what was found and, if that is wrong, what to do.

A check never raises because of what it looks at: a fault is a result like any other.
"""

import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.errors import PipelineError
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from xy_codec.contract import Waveform

# Parts that are too large for memory are written to this disk, and so are objects of Ray.
MIN_FREE_BYTES = 5 * 10**9
# The resampler's filter is not ideal: 0.0003 was measured.
_TONE_ERROR = 0.01
METRIC_PACKAGES = ("pesq", "scipy", "onnxruntime", "kaldi_native_fbank", "speechmos")


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: with a `fault` some command does not work, a `note` is only worth knowing."""

    subject: str
    verdict: Literal["ok", "note", "fault"]
    found: str
    advice: str = ""


def check_machine() -> Iterator[Check]:
    """All checks that need no network, no cluster and no checkpoint."""
    yield check_python()
    for check in (check_torch, check_resampler, check_mp3, check_ray, check_metrics):
        yield guarded(check)
    yield check_disk("temporary files", Path(tempfile.gettempdir()))
    if Path("/dev/shm").is_dir():
        yield check_disk("shared memory", Path("/dev/shm"), min_free_bytes=10**9)


def check_python() -> Check:
    """Interpreter and platform."""
    cores = plural(os.cpu_count() or 0, "core")
    found = f"{platform.python_version()} on {platform.machine()}, {cores}"
    return Check("python", "ok", found)


def check_torch() -> Check:
    """The torch build and the GPUs it sees."""
    import torch

    target = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    build = f"{torch.__version__}, built for {target}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("torch", "ok", f"{build}; {len(names)} GPU: {', '.join(sorted(set(names)))}")
    if not Path("/dev/nvidiactl").exists():
        return Check("torch", "note", f"{build}; no GPU", "fine for a trial; a GPU is far faster")
    if torch.version.cuda is None:
        advice = "this torch is a CPU build: install a CUDA build of the same version"
    else:
        advice = "the driver is older than this torch wants: update it, or install an older torch"
    return Check("torch", "fault", f"{build}; a GPU is there but not usable", advice)


def check_resampler() -> Check:
    """Whether the resampler of torchaudio works with this torch: a tone must stay the same tone."""
    from xy_codec.audio import RESAMPLER, resample
    from xy_codec.torchaudio_import import has_compiled_operators

    found = f"{RESAMPLER}, torch {importlib.metadata.version('torch')}"
    heard, expected = resample(_tone(24_000), 24_000, 16_000), _tone(16_000)
    # The ends differ, because silence is before and after the second.
    if len(heard) != len(expected) or np.abs(heard - expected)[100:-100].max() > _TONE_ERROR:
        advice = "install the torchaudio named in constraints.txt"
        return Check("resampler", "fault", f"{found}; a second of a tone became another", advice)
    if not has_compiled_operators():
        found += "; without torchaudio's compiled operators: `import torchaudio` alone fails"
        advice = "xytok needs none of them; for other tools install the torchaudio of this torch"
        return Check("resampler", "note", found, advice)
    return Check("resampler", "ok", found)


def _tone(rate_hz: int) -> Waveform:
    tone: Waveform = np.sin(np.arange(rate_hz, dtype=np.float32) * (2 * np.pi * 440 / rate_hz))
    return tone.astype(np.float32)


def check_mp3() -> Check:
    """Whether libsndfile encodes and decodes MP3."""
    import soundfile

    found = f"libsndfile {soundfile.__libsndfile_version__}"
    if "MP3" not in soundfile.available_formats():
        advice = "pip install --force-reinstall soundfile: its wheel carries libsndfile 1.2"
        return Check("mp3", "fault", f"{found}, without MP3", advice)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(24_000, np.float32), 24_000, format="MP3")
    file.seek(0)
    samples, _ = soundfile.read(file)
    return Check("mp3", "ok", f"{found}, decoded {len(samples):,} samples")


def check_ray() -> Check:
    """The version of Ray; all nodes of a cluster must have the same."""
    found = f"{importlib.metadata.version('ray')}, Python {platform.python_version()}"
    address = os.environ.get("RAY_ADDRESS")
    if address:
        found += f"; RAY_ADDRESS is `{address}`: `xytok doctor --cluster auto` tries it"
    return Check("ray", "ok", found)


def check_metrics() -> Check:
    """Whether the packages for the metrics of the audit are installed."""
    missing = [name for name in METRIC_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        advice = "pip install 'xytok[audit]' (pesq needs a C compiler)"
        return Check("audit metrics", "note", f"without {', '.join(missing)}", advice)
    return Check("audit metrics", "ok", ", ".join(METRIC_PACKAGES))


def check_disk(subject: str, folder: Path, min_free_bytes: int = MIN_FREE_BYTES) -> Check:
    """The free space in a folder for temporary files."""
    free = shutil.disk_usage(folder).free
    found = f"`{folder}`, {free / 1e9:.1f} GB free"
    if free < min_free_bytes:
        advice = f"free {min_free_bytes / 1e9:.0f} GB, or set TMPDIR to a larger disk"
        if subject == "shared memory":
            advice = "give the container more: `--shm-size=2g`"
        return Check(subject, "note", found, advice)
    return Check(subject, "ok", found)


def check_cluster(address: str) -> Check:
    """Whether this machine can connect to a Ray cluster, and what the cluster has."""

    def join_cluster() -> Check:
        import ray

        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        try:
            offered = ray.cluster_resources()
            nodes = sum(node["Alive"] for node in ray.nodes())
        finally:
            ray.shutdown()
        units = ", ".join(plural(round(offered.get(unit, 0)), unit) for unit in ("CPU", "GPU"))
        return Check("cluster", "ok", f"`{address}`: {plural(nodes, 'node')}, {units}")

    return guarded(join_cluster, "cluster", "same Ray and Python on both sides, head reachable?")


def check_storage(url: str, storage: Storage, write: bool) -> Check:
    """Whether a folder can be listed and, with `write`, written; the file written is removed."""
    try:
        listed = len(storage.list_files(url))
        found = f"`{redact(url)}`: {plural(listed, 'file')} listed"
        if not listed and not write:
            advice = "right for a new output, which `--write` tries; an input is misspelt or empty"
            return Check("storage", "note", f"{found}; no such folder or an empty one", advice)
        if write:
            probe = join(url, f".xytok-doctor-{uuid.uuid4().hex[:8]}")
            storage.write_finished(probe, b"probe")
            storage.delete(probe)
            found += ", a file written and removed"
    except PipelineError as error:
        found, _, remedy = str(error).partition("; expected ")
        advice = "check bucket, endpoint (AWS_ENDPOINT_URL), region and credentials"
        return Check("storage", "fault", found, f"expected {remedy}" if remedy else advice)
    return Check("storage", "ok", found)


def guarded(check: Callable[[], Check], subject: str = "", advice: str = "") -> Check:
    """The finding of a check, or a fault when the check itself fails."""
    try:
        return check()
    except Exception as error:  # a broken installation may raise anything, and that is the finding
        name = subject or check.__name__.removeprefix("check_")
        found = str(error).strip().split("\n")[0][:300] or type(error).__name__
        return Check(name, "fault", found, advice or "reinstall: pip install --upgrade xytok")
