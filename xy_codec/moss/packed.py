"""The model over packs: the plain modules, in tiles of steps, with the attention of packs."""

from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn

from xy_codec.engine.causal import SegmentLayout
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.transformer import ProjectedTransformer


def encode_pack(
    model: MossAudioTokenizer, samples: Tensor, layout: SegmentLayout, num_codebooks: int
) -> Tensor:
    """Samples of S frames `[S * hop]` to codes `[S, K]`; `layout` is that of the frames."""
    frames = _run(model.encoder, samples[:, None], layout)
    return layout.stepwise(partial(model.quantizer.encode, num_codebooks=num_codebooks), frames)


def decode_pack(model: MossAudioTokenizer, codes: Tensor, layout: SegmentLayout) -> Tensor:
    """Codes `[S, K']` of the first K' codebooks to samples `[S * hop]`."""
    return decode_frames(model, layout.stepwise(model.quantizer.add_up, codes), layout)


def decode_frames(model: MossAudioTokenizer, sums: Tensor, layout: SegmentLayout) -> Tensor:
    """The sums of entries `[S, D]` to samples `[S * hop]`."""
    frames = layout.stepwise(model.quantizer.project_out, sums)
    return _run(model.decoder, frames, layout).flatten()


def _run(stages: Iterable[nn.Module], steps: Tensor, frames: SegmentLayout) -> Tensor:
    for stage in stages:
        if isinstance(stage, ProjectedTransformer):
            layout = frames.faster(len(steps) // len(frames.place))
            if stage.input_proj is not None:
                steps = layout.stepwise(stage.input_proj, steps)
            steps = layout.transform(stage.transformer, steps)
            if stage.output_proj is not None:
                steps = layout.stepwise(stage.output_proj, steps)
        else:
            steps = stage(steps)
    return steps
