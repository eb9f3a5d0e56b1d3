"""The device that a codec runs on, and the platform's name in a codec's identity."""

import platform as machine
from pathlib import Path

import torch

from xy_codec.errors import ConfigError
from xy_codec.mkl_mode import mkl_mode

# Part of the platform's name on a GPU, until `tests/gpu/run.py` has passed on one: codes that were
# made before are then never mixed with later ones.
_NOT_PROVEN = "not-yet-proven"


def open_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"Device is `{name}`; expected `auto`, `cpu`, `cuda` or `cuda:N`. Use `auto`."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"Device is `{name}`; expected `auto`, `cpu`, `cuda` or `cuda:N`.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"Device is `{name}`, but torch {torch.__version__} sees no CUDA device. Use `cpu`, or "
            "install a CUDA build of torch and check the driver with `nvidia-smi`."
        )
    return device


def platform_name(device: torch.device) -> str:
    """What the last bits of a codec depend on beside its weights: the chip and torch's build."""
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device).replace(" ", "-")
        return f"cuda:{chip}/torch-{torch.__version__}/{_NOT_PROVEN}"
    capability = torch.backends.cpu.get_cpu_capability().lower()
    version = torch.__version__.split("+")[0]
    return f"cpu:{_cpu_model()}/{capability}{mkl_mode()}/torch-{version}"


def _cpu_model() -> str:
    """Vendor, family and model, which choose the kernels of the matrix library."""
    wanted = {"vendor_id": "", "cpu family": "", "model": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return machine.machine()
    for line in lines:
        key, _, value = line.partition(":")
        if wanted.get(key.strip()) == "":
            wanted[key.strip()] = value.strip()
    return "-".join(value for value in wanted.values() if value) or machine.machine()
