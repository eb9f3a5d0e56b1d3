"""Keeps products of matrices independent of threads and memory alignment on CPUs without AVX-512.

There, torch's library of products (MKL) rounds by both unless a mode is set. The mode must stand in
the environment before the first product of the process, so `xy_codec/__init__.py` sets it; a value
that is set already stays. With AVX-512 no difference was seen.
"""

import os
from pathlib import Path

VARIABLE = "MKL_CBWR"


def set_mkl_mode() -> None:
    """Set the mode that this CPU needs."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "").split()
    except OSError:
        return
    if flags and "avx512f" not in flags:
        os.environ.setdefault(VARIABLE, "AVX2" if "avx2" in flags else "COMPATIBLE")


def mkl_mode() -> str:
    """The mode as a part of a platform's name; empty where none is set."""
    mode = os.environ.get(VARIABLE, "")
    return f"/mkl-{mode.lower()}" if mode else ""
