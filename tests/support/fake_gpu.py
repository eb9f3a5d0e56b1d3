"""Runs codecs on a device that has no memory: `python fake_gpu.py exact fast moss secousti`.

Torch's fake tensors have a device and refuse most operations across devices, as a GPU would. They
say nothing of values or of speed. A process of its own, because torch gets a device for good.
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.support import moss_case, secousti_case
from tests.support.golden_case import Group
from xy_codec.engine.causal import coded_segments, cut_clip
from xy_codec.engine.geometry import CUDA, Program
from xy_codec.engine.pack_stream import PackStream
from xy_codec.engine.windows import WindowPlan
from xy_codec.fake import FakeCodec
from xy_codec.moss import codec as moss_codec
from xy_codec.moss.codec import MossCodec
from xy_codec.moss.config import CodecConfig as MossConfig
from xy_codec.moss.family import shape_of
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.packed import decode_pack
from xy_codec.secousti import codec as secousti_codec
from xy_codec.secousti.codec import SecoustiCodec, middle_of
from xy_codec.secousti.config import CodecConfig as SecoustiConfig
from xy_codec.secousti.family import shape_of as secousti_shape
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.state_dict import config_of
from xy_codec.secousti.vocoder_pieces import pitch_of, vocode
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec

# Not `cuda`: torch without CUDA cannot index even fake tensors of that name.
_setup_privateuseone_for_python_backend("gpu")
GPU = torch.device("gpu", 0)
DTYPES = {"exact": torch.float32, "fast": torch.float16}


def codec_on_gpu(dtype: torch.dtype) -> PackedCodec:
    model = XYTokenizer(CodecConfig.from_mapping(Group("small_xy").info["params"]))
    move_to_gpu(model)
    plan = WindowPlan.of(16000, 30, 1280, 10)
    return PackedCodec(model, dtype, FakeCodec().identity, plan, GPU, CUDA)


def moss_on_gpu(config: MossConfig, program: Program = "tiles") -> MossCodec:
    model = MossAudioTokenizer(config)
    move_to_gpu(model)
    identity = replace(FakeCodec().identity, shape=shape_of(config))
    return MossCodec(model, identity, GPU, moss_codec.CUDA.with_program(program))


def secousti_on_gpu(config: SecoustiConfig, program: Program = "tiles") -> SecoustiCodec:
    model = SecoustiModel(config).eval()
    move_to_gpu(model)
    identity = replace(FakeCodec().identity, shape=secousti_shape(config))
    return SecoustiCodec(model, identity, GPU, secousti_codec.CUDA.with_program(program))


def move_to_gpu(model: torch.nn.Module) -> None:
    """What `model.to` does, which cannot swap fake tensors itself."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(parameter.to(GPU), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            # The value of a single number is known even here, and cannot be moved.
            if buffer.ndim:
                setattr(module, name, buffer.to(GPU))


def encode(codec: PackStream[Any]) -> torch.Tensor:
    """All of it up to the copy to the host."""
    if isinstance(codec, SecoustiCodec):
        jobs = codec._jobs("clip", np.zeros(36 * 22050, np.float32))
        codec.states_of([middle_of(job) for job in jobs])
        return codec.tokens_of([codec._stretch(job) for job in jobs])[:, None]
    return codec._pack_codes(codec._jobs("clip", np.zeros(36 * 16000, np.float32)))


def decode(codec: PackedCodec | MossCodec | SecoustiCodec) -> torch.Tensor:
    """As the codec does it, up to the copy to the host."""
    if isinstance(codec, SecoustiCodec):
        lengths = (375, 10)
        tokens = enumerate(np.zeros((1, frames), np.int16) for frames in lengths)
        parts = [part for part, _ in coded_segments(tokens, 4096)]
        vector = codec.model.paralinguistic_encoder.to_vector(torch.zeros(64).to(GPU))
        mel = codec._decode_pack(parts, [vector, vector])[0]
        return vocode(codec.model.vocoder, mel, pitch_of(codec.model.vocoder, mel), "key")
    if isinstance(codec, MossCodec):
        segments = [*cut_clip(375, 2048), *cut_clip(10, 2048)]
        layout = codec._lay_out(segments)
        codes = torch.zeros(len(layout.place), 8, dtype=torch.long).to(GPU)
        return decode_pack(codec.model, codes, layout)
    spectra = codec._spectra([np.zeros((frames, 8), np.int16) for frames in (375, 10)])
    return codec.decoder.head.to_samples(spectra.unsqueeze(0))


def main() -> None:
    for kind in sys.argv[1:]:
        with FakeTensorMode(), torch.inference_mode():
            codec: PackedCodec | MossCodec | SecoustiCodec
            if kind in DTYPES:
                codec = codec_on_gpu(DTYPES[kind])
            else:
                codec = (
                    moss_on_gpu(moss_case.Group("small4w").config)
                    if kind == "moss"
                    else secousti_on_gpu(config_of(secousti_case.Group("small_21").checkpoint()))
                )
            for name, out in (("codes", encode(codec)), ("wave", decode(codec))):
                print(kind, name, out.device, out.dtype, list(out.shape), flush=True)


if __name__ == "__main__":
    main()
