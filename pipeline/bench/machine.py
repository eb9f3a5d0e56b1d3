"""The machine of a benchmark: processor, device, thread count, peak of matrix products."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """The hardware and the version of torch on which the other figures were measured."""

    cpu: str
    cores: int
    threads: int
    device: str
    torch: str
    matmul_gflops: float


def measure_machine(device: str) -> MachineFigures:
    """The processor, the device and its best speed in matrix products, with torch's threads."""
    import torch

    from pipeline.bench.flops import matmul_peak

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
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
