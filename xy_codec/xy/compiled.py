"""Compiling the program of a pack with `torch.compile`."""

import torch

from xy_codec.xy.pack_program import PackProgram


def compile_encoding(program: PackProgram) -> None:
    """Compile what a program does behind the log-mel; its first pack does it, and takes minutes.

    The log-mel has complex numbers, for which the compiler makes no code. Never `max-autotune`: it
    chooses kernels by their speed on the day, and two workers that chose differently would write
    different codes.
    """
    encode = torch.compile(program.encode, fullgraph=True, dynamic=False)
    program.encode = encode  # type: ignore[method-assign]
