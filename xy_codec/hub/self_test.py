"""What is tried whenever a codec of another package is loaded: lengths, sizes, and equal bits.

The package's next version may pad or count otherwise; then loading fails here, before any clip.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

from xy_codec.contract import CodecIdentity, Waveform
from xy_codec.engine.threads import threads
from xy_codec.errors import CheckpointError
from xy_codec.hub.alone import AloneCodec, ClipModel
from xy_codec.hub.packages import in_one_line

# Noise of two seconds: enough for every layer, and its length is no multiple of a frame.
_SECONDS = 2.003


def self_tested(model: ClipModel, identity: CodecIdentity) -> AloneCodec:
    """A codec that keeps what its identity states; refuses the model if it does not."""
    try:
        return _tested(model, identity)
    except Exception as error:  # the package may raise anything
        versions = " and ".join(f"{name} {each}" for name, each in identity.libraries.items())
        raise CheckpointError(
            f"Codec `{identity.name}` failed its self-test with {versions}: "
            f"{in_one_line(error)}. Use the files as they were published, or another version of "
            "the package."
        ) from error


def _tested(model: ClipModel, identity: CodecIdentity) -> AloneCodec:
    shape = identity.shape
    hop, frame = shape.samples_per_frame, shape.output_samples_per_frame
    noise = _noise(int(_SECONDS * shape.input_rate_hz))
    if _bits(model, noise) != _bits(model, noise):
        raise CheckpointError("two encodings of the same clip have different bits")
    codec = AloneCodec(model, identity)
    # Each is refused if it has another shape than the one stated for its length.
    *_, codes = codec.encode([*map(_noise, (1, hop - 1, hop, hop + 1)), noise])
    sizes = np.array(shape.codebook_sizes)[:, None]
    if ((codes < 0) | (codes >= sizes)).any():
        raise CheckpointError(f"codes are {codes.min()} to {codes.max()} of {sizes.min()} entries")
    with torch.inference_mode(), threads(1):
        samples = model.decode(torch.from_numpy(codes).long(), None)
    if abs(len(samples) - codes.shape[1] * frame) >= frame or not samples.isfinite().all():
        raise CheckpointError(
            f"{codes.shape[1]} frames decode to {len(samples)} samples of which "
            f"{int(samples.isfinite().sum())} are finite; expected {frame} for each"
        )
    return codec


def _noise(num_samples: int) -> Waveform:
    return np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)


def _bits(model: ClipModel, waveform: Waveform) -> int:
    """A checksum of what every layer gives: codes alone would hide most differences."""
    checksum = 0

    def add(_module: object, _inputs: object, output: object) -> None:
        nonlocal checksum
        if isinstance(output, Tensor):
            checksum = zlib.crc32(output.cpu().contiguous().numpy().tobytes(), checksum)

    layers = [each for each in model.module.modules() if not any(each.children())]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode(), threads(1):
            add(None, None, model.encode(waveform))
    finally:
        for hook in hooks:
            hook.remove()
    return checksum
