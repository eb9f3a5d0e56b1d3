"""Reads 16-bit mono FLAC in plain Python, for machines without soundfile.

The recorded inputs of the golden cases are FLAC files. This takes about 2 s for 47 s of audio.
"""

from operator import mul
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FIXED = ((), (1,), (2, -1), (3, -3, 1), (4, -6, 4, -1))
_SAMPLE_BITS = 16


def read_flac(path: Path, num_samples: int) -> NDArray[np.float32]:
    """The first `num_samples` samples, in [-1, 1]; fewer where the file ends."""
    data = path.read_bytes()
    bits = _Bits(data[_first_frame(data) :])
    samples: list[int] = []
    while len(samples) < num_samples and bits.left > 0:
        samples += _frame(bits)
    return np.asarray(samples[:num_samples], np.float32) / np.float32(32768)


class _Bits:
    """The bits of a file as text of 0 and 1: finding the next 1 and cutting are then fast."""

    def __init__(self, data: bytes) -> None:
        self.text = format(int.from_bytes(data, "big"), f"0{8 * len(data)}b")
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.text) - self.at

    def unsigned(self, count: int) -> int:
        """The next `count` bits as a number; 0 for no bits."""
        start, self.at = self.at, self.at + count
        return int(self.text[start : self.at], 2) if count else 0

    def signed(self, count: int) -> int:
        """The same in two's complement."""
        value = self.unsigned(count)
        return value - (1 << count) if count and value >> (count - 1) else value

    def unary(self) -> int:
        """The number of 0 before the next 1, which is read too."""
        start, found = self.at, self.text.index("1", self.at)
        self.at = found + 1
        return found - start


def _first_frame(data: bytes) -> int:
    assert data[:4] == b"fLaC", "not a FLAC file"
    at, is_last = 4, False
    while not is_last:
        is_last = data[at] >= 128
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at


def _frame(bits: _Bits) -> list[int]:
    assert bits.unsigned(15) == 0x7FFC, "not at the start of a frame"
    bits.at += 1
    size_code, rate_code = bits.unsigned(4), bits.unsigned(4)
    channels, sample_code = bits.unsigned(4), bits.unsigned(3)
    assert (channels, sample_code) in ((0, 0), (0, 4)), "expected mono with 16 bits"
    bits.at += 1
    first = bits.unsigned(8)  # the frame's number, as long as its leading ones say
    bits.at += 8 * max(0, (8 - (first ^ 0xFF).bit_length()) - 1)
    size = _block_size(size_code, bits)
    bits.at += {12: 8, 13: 16, 14: 16}.get(rate_code, 0) + 8
    samples = _subframe(bits, size)
    bits.at += -bits.at % 8 + 16
    return samples


def _block_size(code: int, bits: _Bits) -> int:
    if code == 1:
        return 192
    if code < 6:
        return 576 << (code - 2)
    return 256 << (code - 8) if code > 7 else bits.unsigned(8 * (code - 5)) + 1


def _subframe(bits: _Bits, size: int) -> list[int]:
    kind = bits.unsigned(7)
    wasted = bits.unary() + 1 if bits.unsigned(1) else 0
    width = _SAMPLE_BITS - wasted
    if kind == 0:
        samples = [bits.signed(width)] * size
    elif kind == 1:
        samples = [bits.signed(width) for _ in range(size)]
    elif kind < 32:
        order = kind - 8
        start = [bits.signed(width) for _ in range(order)]
        samples = _predict(start, _FIXED[order], 0, _residual(bits, size, order))
    else:
        order = kind - 31
        start = [bits.signed(width) for _ in range(order)]
        precision, shift = bits.unsigned(4) + 1, bits.signed(5)
        factors = tuple(bits.signed(precision) for _ in range(order))
        samples = _predict(start, factors, shift, _residual(bits, size, order))
    return [sample << wasted for sample in samples] if wasted else samples


def _predict(
    samples: list[int], factors: tuple[int, ...], shift: int, residual: list[int]
) -> list[int]:
    """Continue `samples`: each is what the ones before it predict, and a residual."""
    order, backwards = len(factors), factors[::-1]
    for rest in residual:
        before = samples[len(samples) - order :]
        samples.append((sum(map(mul, backwards, before)) >> shift) + rest)
    return samples


def _residual(bits: _Bits, size: int, order: int) -> list[int]:
    width = 4 + bits.unsigned(2)
    partitions = 1 << bits.unsigned(4)
    values: list[int] = []
    for number in range(partitions):
        count = size // partitions - (order if number == 0 else 0)
        parameter = bits.unsigned(width)
        if parameter == (1 << width) - 1:
            raw = bits.unsigned(5)
            values += [bits.signed(raw) for _ in range(count)]
            continue
        for _ in range(count):
            folded = (bits.unary() << parameter) | bits.unsigned(parameter)
            values.append((folded >> 1) ^ -(folded & 1))
    return values
