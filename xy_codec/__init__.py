"""Neural speech codecs behind one contract: audio in, codes out, and back."""

from typing import TYPE_CHECKING, Any

from xy_codec.contract import Codec, CodecIdentity
from xy_codec.mkl_mode import set_mkl_mode

if TYPE_CHECKING:
    from xy_codec.loading import load_codec

set_mkl_mode()

__all__ = ["Codec", "CodecIdentity", "load_codec"]


def __getattr__(name: str) -> Any:
    """Import torch only when a codec is loaded."""
    if name != "load_codec":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from xy_codec.loading import load_codec

    return load_codec
