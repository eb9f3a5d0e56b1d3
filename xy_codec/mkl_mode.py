"""Keeps products of matrices independent of threads and memory alignment.

Torch's library of products (MKL) rounds by both unless a mode is set. The mode must stand in the
environment before the first product of the process, so `xy_codec/__init__.py` sets it; a value that
is set already stays.
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
    modes = {"avx512f": "AVX512,STRICT", "avx2": "AVX2"}
    if flags:
        mode = next((mode for flag, mode in modes.items() if flag in flags), "COMPATIBLE")
        os.environ.setdefault(VARIABLE, mode)


def mkl_mode() -> str:
    """The mode as a part of a platform's name; empty where none is set."""
    mode = os.environ.get(VARIABLE, "")
    return f"/mkl-{mode.lower().replace(',', '-')}" if mode else ""
