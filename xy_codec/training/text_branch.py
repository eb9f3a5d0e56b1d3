"""The text branch of pre-training: what was said must be readable from the quantised frames.

`llm` is the paper's: a decoder-only language model, frozen, transcribes. It reads the frames,
through a trained adapter, before its text. `ctc` is the small one: bytes straight from the frames.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.errors import ConfigError
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.recipe import TextConfig
from xy_codec.xy.adapter import Adapter
from xy_codec.xy.config import AdapterConfig

_CHARACTERS = 256  # bytes of UTF-8, with 0 as CTC's blank
_IGNORED = -100
_MOST_FRAMES = 375  # of 30 s

Texts = tuple[str, ...]


class TextBranch(Protocol):
    """A module whose loss is a sum, so that batches and processes can be added up."""

    def count(self, texts: Texts, num_frames: Tensor) -> int:
        """How many values the sum has."""
        ...

    def __call__(self, frames: Tensor, num_frames: Tensor, texts: Texts) -> Tensor:
        """The sum over what of `texts` can be told from `frames` `[B, T, D]`; 0 of nothing."""
        ...


class CtcBranch(nn.Module):
    """Bytes of the transcript from frames at 12.5 Hz, four guesses a frame; a value a clip."""

    def __init__(self, width: int, guesses: int = 4) -> None:
        super().__init__()
        self.guesses = guesses
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, guesses * _CHARACTERS)

    def count(self, texts: Texts, num_frames: Tensor) -> int:
        """The clips whose text is known and short enough."""
        return len(self._usable(num_frames, texts))

    def forward(self, frames: Tensor, num_frames: Tensor, texts: Texts) -> Tensor:
        """The sum of the CTC losses per byte."""
        codes = self._usable(num_frames, texts)
        if not codes:
            return frames.new_zeros(())
        usable = list(codes)
        guesses = self.out(self.norm(frames[usable])).float()
        log_chances = guesses.reshape(len(usable), -1, _CHARACTERS).log_softmax(-1)
        targets = torch.tensor([byte for code in codes.values() for byte in code])
        lengths = torch.tensor([len(code) for code in codes.values()])
        losses = F.ctc_loss(
            log_chances.transpose(0, 1),
            targets.to(frames.device),
            num_frames[usable] * self.guesses,
            lengths,
            reduction="none",
            zero_infinity=True,
        )
        return (losses / lengths.to(losses.device)).sum()

    def _usable(self, num_frames: Tensor, texts: Texts) -> dict[int, bytes]:
        codes = ((number, text.lower().encode()) for number, text in enumerate(texts))
        return {
            number: code
            for number, code in codes
            if 0 < len(code) <= int(num_frames[number]) * self.guesses
        }


class LanguageModelBranch(nn.Module):
    """A language model reads adapted frames and is scored on the transcript; a value a token."""

    def __init__(self, width: int, model: Any, tokenizer: Any, config: TextConfig) -> None:
        super().__init__()
        self.model = model.requires_grad_(config.trainable).eval()
        self.tokenizer = tokenizer
        inner = model.get_input_embeddings().embedding_dim
        self.adapter = Adapter(
            AdapterConfig(
                input_dim=width,
                output_dim=inner,
                d_model=config.adapter_width,
                max_source_positions=_MOST_FRAMES,
                encoder_layers=config.adapter_layers,
                encoder_attention_heads=config.adapter_heads,
                encoder_ffn_dim=4 * config.adapter_width,
            )
        )

    def train(self, mode: bool = True) -> "LanguageModelBranch":
        """Train the adapter; the language model, trained or not, runs as it does in use."""
        super().train(mode)
        self.model.eval()
        return self

    def count(self, texts: Texts, _num_frames: Tensor) -> int:
        """The tokens of the transcripts, each with its end."""
        return sum(len(self._tokens(text)) for text in texts if text)

    def forward(self, frames: Tensor, num_frames: Tensor, texts: Texts) -> Tensor:
        """The sum of the cross-entropies of the transcripts' tokens after the frames."""
        usable = [number for number, text in enumerate(texts) if text]
        if not usable:
            return frames.new_zeros(())
        tokens = [self._tokens(texts[number]) for number in usable]
        adapted = self.adapter(frames[usable], num_frames[usable])
        heard, visible = _against_the_end(adapted, num_frames[usable])
        longest = max(len(each) for each in tokens)
        ids = torch.zeros(len(usable), longest, dtype=torch.long, device=frames.device)
        labels = torch.full_like(ids, _IGNORED)
        for number, each in enumerate(tokens):
            ids[number, : len(each)] = labels[number, : len(each)] = torch.tensor(each)
        said = self.model.get_input_embeddings()(ids).to(heard.dtype)
        inputs = torch.cat((heard, said), dim=1).to(self.model.dtype)
        mask = torch.cat((visible, labels != _IGNORED), dim=1).long()
        # A token is told by the step before it; logits of other steps would fill the memory.
        output = self.model(inputs_embeds=inputs, attention_mask=mask, logits_to_keep=longest + 1)
        guesses = output.logits[:, -longest - 1 : -1].float().flatten(0, 1)
        return F.cross_entropy(guesses, labels.flatten(), ignore_index=_IGNORED, reduction="sum")

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]


def build_text_branch(config: TextConfig, width: int) -> CtcBranch | LanguageModelBranch | None:
    """The branch a recipe asks for, on frames of `width`."""
    if config.kind == "none":
        return None
    if config.kind == "ctc":
        return CtcBranch(width)
    import_torchaudio()  # transformers imports it too, and fails where it cannot be loaded whole
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # What is trained is held in float32, whatever it was released in.
        kind = {"dtype": torch.float32} if config.trainable else {}
        model = AutoModelForCausalLM.from_pretrained(config.model, **kind)
        tokenizer = AutoTokenizer.from_pretrained(config.model)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`text.model` is `{config.model}`, which cannot be loaded: "
            f"{str(error).splitlines()[0]}. Expected a transformers id or folder of a decoder-only "
            "model; check the network, or set `text.kind` to `ctc` or `none`."
        ) from error
    return LanguageModelBranch(width, model, tokenizer, config)


def _against_the_end(frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
    """Move each clip's frames to the end, so that the last one stands right before the text."""
    steps = torch.arange(frames.shape[1], device=frames.device)
    padding = frames.shape[1] - num_frames.to(frames.device)[:, None]
    visible = steps >= padding
    source = (steps - padding).clamp(min=0)[..., None].expand_as(frames)
    return frames.gather(1, source) * visible[..., None], visible
