"""Runs the codec on a device that has no memory: `python fake_gpu.py exact|fast`.

Torch's fake tensors have a device and refuse most operations across devices, as a GPU would. They
say nothing of values or of speed. A process of its own, because torch gets a device for good.
"""

import sys

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.support.golden_case import Group
from xy_codec.engine.geometry import CUDA
from xy_codec.engine.windows import WindowPlan
from xy_codec.fake import FakeCodec
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec

# Not `cuda`: torch without CUDA cannot index even fake tensors of that name.
_setup_privateuseone_for_python_backend("gpu")
GPU = torch.device("gpu", 0)
DTYPES = {"exact": torch.float32, "fast": torch.float16}


def codec_on_gpu(dtype: torch.dtype) -> PackedCodec:
    model = XYTokenizer(CodecConfig.from_mapping(Group("small_xy").info["params"]))
    # What `model.to` does, which cannot swap fake tensors itself.
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(parameter.to(GPU), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(GPU))
    plan = WindowPlan.of(16000, 30, 1280, 10)
    return PackedCodec(model, dtype, FakeCodec().identity, plan, GPU, CUDA)


def encode(codec: PackedCodec) -> torch.Tensor:
    """All of it up to the copy to the host."""
    return codec._pack_codes(codec._jobs("clip", np.zeros(36 * 16000, np.float32)))


def decode(codec: PackedCodec) -> torch.Tensor:
    """As the codec does it, up to the copy to the host."""
    spectra = codec._spectra([np.zeros((frames, 8), np.int16) for frames in (375, 10)])
    return codec.decoder.head.to_samples(spectra.unsqueeze(0))


def main() -> None:
    with FakeTensorMode(), torch.inference_mode():
        codec = codec_on_gpu(DTYPES[sys.argv[1]])
        for name, out in (("codes", encode(codec)), ("wave", decode(codec))):
            print(name, out.device, out.dtype, list(out.shape))


if __name__ == "__main__":
    main()
