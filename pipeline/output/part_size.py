"""How large parts become, estimated from the shape of the codes; plans and benchmarks use it."""

from xy_codec.codes_shape import CodesShape

# Size of compressed codes over what they hold at most; 1.006 to 1.008 measured on random codes.
_OVERHEAD = 1.008


def codes_bytes_per_second(shape: CodesShape) -> float:
    """How many bytes of a part the codes of a second of speech take."""
    return shape.bits_per_second / 8 * _OVERHEAD
