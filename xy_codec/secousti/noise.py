"""What the vocoder draws for the key of a clip: where harmonics start, and the noise beside them.

Both are words of numpy's generator PCG64, whose n-th word is a function of its seed and of n. The
host says where the generator stands before each frame; a frame's values are made on the codec's
device, by integers of 64 bits, so that they have the same bits on every device.
"""

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xy_codec.secousti.config import HOP_SAMPLES, NUM_HARMONICS

# A state of the generator is the one before times this, plus a number of the seed, below 2^128.
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_STATES = 1 << 128
_VALUES = HOP_SAMPLES * NUM_HARMONICS
_SIGN = -1 << 63
_LOW = (1 << 32) - 1
# Every second one of a word's four numbers of 16 bits: their sum has this mean and about this
# deviation.
_LIMBS = 0x0000_FFFF_0000_FFFF
_MEAN = 131070
_DEVIATION = 37837.22


def start_phases(seed: str) -> NDArray[np.float32]:
    """Where each harmonic starts `[9]`, from -pi to below pi; the first at 0."""
    words = _generator(seed + "|phase").random_raw(NUM_HARMONICS)
    unit = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    phases = ((2.0 * unit - 1.0) * math.pi).astype(np.float32)
    phases[0] = 0.0
    return phases


def noise_states(seed: str, start: int, stop: int) -> NDArray[np.int64]:
    """Where the generator stands before each of these frames, `[stop - start, 4]`.

    Upper and lower half of its state, and of the difference to its next one.
    """
    generator = _generator(seed + "|gauss").advance(start * _VALUES).state["state"]
    state, added = generator["state"], generator["inc"]
    multiplier = pow(_MULTIPLIER, _VALUES, _STATES)
    added_a_frame = added * _jump(_VALUES)
    halves = bytearray()
    for _ in range(start, stop):
        step = (state * (_MULTIPLIER - 1) + added) % _STATES
        halves += (step << 128 | state).to_bytes(32, "little")
        state = (state * multiplier + added_a_frame) % _STATES
    return np.frombuffer(halves, "<i8").reshape(-1, 4)[:, [1, 0, 3, 2]]


def noise_jumps() -> Tensor:
    """For the values of a frame, `[2, 2304]`: by how many differences the state has moved.

    Upper and lower half, modulo 2^128.
    """
    jumps, jump = bytearray(), 0
    for _ in range(_VALUES):
        jump = (jump * _MULTIPLIER + 1) % _STATES
        jumps += jump.to_bytes(16, "little")
    return torch.from_numpy(np.frombuffer(jumps, "<i8").reshape(-1, 2)[:, ::-1].T.copy())


def draw_noise(states: Tensor, jumps: Tensor) -> Tensor:
    """About normal values `[256 T, 9]` of frames with these states `[T, 4]`, all 0 for none."""
    upper, lower, step_upper, step_lower = (part[:, None] for part in states.unbind(1))
    jump_upper, jump_lower = jumps
    # State plus jump times step; integers of 64 bits keep the lower half of a product.
    moved = jump_lower * step_lower + lower
    is_carried = (moved ^ _SIGN) < (lower ^ _SIGN)
    upper = upper + is_carried + _upper_half(jump_lower, step_lower)
    upper += jump_upper * step_lower
    upper += jump_lower * step_upper
    # The word is the halves' difference, turned right by the uppermost six bits. Here it is turned
    # left, and not by whole numbers of 16 bits, which do not change their sum.
    word, by = upper ^ moved, upper >> 58 & 15
    word = (word << (16 - by)) | ((word >> 48 & 0xFFFF) >> by)
    pairs = (word & _LIMBS) + (word >> 16 & _LIMBS)
    values = normal_values((pairs + (pairs >> 32)) & _LOW)
    # The difference of two states is odd.
    return values.masked_fill(step_lower == 0, 0.0).view(-1, NUM_HARMONICS)


def normal_values(sums: Tensor) -> Tensor:
    """Sums of four numbers of 16 bits, to float32 of mean 0 and deviation 1.

    Times the reciprocal, as a GPU divides by a constant; every sum gives what division gives.
    """
    return ((sums - _MEAN).double() * (1.0 / _DEVIATION)).float()


def _upper_half(a: Tensor, b: Tensor) -> Tensor:
    """The upper 64 bits of products of integers without a sign."""
    a_upper, a_lower, b_upper, b_lower = a >> 32 & _LOW, a & _LOW, b >> 32 & _LOW, b & _LOW
    one, other = a_upper * b_lower, a_lower * b_upper
    carried = (a_lower * b_lower >> 32 & _LOW) + (one & _LOW) + (other & _LOW)
    return a_upper * b_upper + (one >> 32 & _LOW) + (other >> 32 & _LOW) + (carried >> 32)


def _jump(count: int) -> int:
    """How many differences of two states lie between one and that `count` words later."""
    return (pow(_MULTIPLIER, count, _STATES * (_MULTIPLIER - 1)) - 1) // (_MULTIPLIER - 1)


def _generator(name: str) -> np.random.PCG64:
    """A source of 64-bit words that depend on the name alone."""
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest[:16], "little")))
