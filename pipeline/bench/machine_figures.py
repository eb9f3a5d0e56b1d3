"""What the figures of a benchmark were measured on."""

import os
import platform
from pathlib import Path

from pipeline.bench.figures import MachineFigures


def measure_machine(device: str) -> MachineFigures:
    """The processor, the device and its peak in plain matrix products, at torch's thread count."""
    import torch

    from pipeline.bench.matrix_work import matmul_peak

    is_cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if is_cuda else "cpu"
    return MachineFigures(
        cpu=cpu_name(),
        cores=num_cores(),
        threads=torch.get_num_threads(),
        device=name,
        torch=torch.__version__,
        matmul_gflops=matmul_peak(device) / 1e9,
    )


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    """The processor as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
