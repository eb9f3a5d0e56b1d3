"""The model over packs: the plain modules, in tiles of steps, with what goes across time apart.

The paralinguistic branch and the vocoder look in both directions: they are not here.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from xy_codec.engine.causal import SegmentLayout
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.seanet import ResidualUnit, SeanetDecoder, SeanetEncoder


def encode_pack(
    model: SecoustiModel, mel: Tensor, layout: SegmentLayout, num_frames: Sequence[int] | Tensor
) -> Tensor:
    """Frames of log-mel `[S * frames a token, M]` to tokens `[S]`.

    Args:
        model: On the device of the frames.
        mel: Those of no clip are not read.
        layout: Of the tokens.
        num_frames: Of each segment, or in a pack of one shape of each token: the frames that the
            clip has there. The last token of a clip may own more.
    """
    steps = _encode_seanet(model.encoder, mel, layout, num_frames)
    steps = layout.transform(model.semantic_transformer, steps)
    return layout.stepwise(lambda part: model.quantizer.encode(model.semantic_mean(part)), steps)


def decode_pack(
    model: SecoustiModel, tokens: Tensor, vectors: Tensor, layout: SegmentLayout
) -> Tensor:
    """Tokens `[S]` and the vector of each one's clip `[S, D]` to log-mel `[S * frames, M]`."""
    steps = layout.stepwise(model.quantizer.decode, tokens) + vectors
    steps = layout.transform(model.connector, steps)
    steps = layout.transform(model.decoder_transformer, steps)
    return _decode_seanet(model.decoder, steps, layout)


def _encode_seanet(
    encoder: SeanetEncoder, mel: Tensor, layout: SegmentLayout, num_frames: Sequence[int] | Tensor
) -> Tensor:
    (stride1,), (stride2,) = encoder.down1.stride, encoder.down2.stride
    middle = layout.faster(stride2)
    fast = middle.faster(stride1)
    steps = _refine(encoder.unit1, fast.convolve(encoder.conv_in, mel), fast)
    # What a padded frame holds is not zero after the first convolution, and the last window of a
    # clip must see zeros.
    steps = fast.without_tails(fast.stepwise(F.elu, steps), num_frames)
    steps = _refine(encoder.unit2, middle.convolve(encoder.down1, steps), middle)
    steps = middle.without_tails(middle.stepwise(F.elu, steps), num_frames, stride1)
    steps = layout.convolve(encoder.down2, steps)
    return layout.convolve(encoder.conv_out, layout.stepwise(F.elu, steps))


def _decode_seanet(decoder: SeanetDecoder, steps: Tensor, layout: SegmentLayout) -> Tensor:
    (stride1,), (stride2,) = decoder.up1.stride, decoder.up2.stride
    middle = layout.faster(stride1)
    fast = middle.faster(stride2)
    steps = layout.convolve(decoder.conv_in, steps)
    steps = layout.convolve(decoder.up1, layout.stepwise(F.elu, steps))
    steps = _refine(decoder.unit1, steps, middle)
    steps = middle.convolve(decoder.up2, middle.stepwise(F.elu, steps))
    steps = _refine(decoder.unit2, steps, fast)
    return fast.convolve(decoder.conv_out, fast.stepwise(F.elu, steps))


def _refine(unit: ResidualUnit, steps: Tensor, layout: SegmentLayout) -> Tensor:
    hidden = layout.convolve(unit.conv1, layout.stepwise(F.elu, steps))
    return steps + layout.convolve(unit.conv2, layout.stepwise(F.elu, hidden))
