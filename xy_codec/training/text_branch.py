"""The text branch of pre-training: what was said must be readable from the quantised frames.

`llm` is the paper's: a frozen decoder-only language model transcribes. It reads the frames, through
a trained projection, before its text. `ctc` is the small one: characters straight from the frames.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.errors import ConfigError
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.recipe import TextConfig

_CHARACTERS = 256  # bytes of UTF-8, with 0 as CTC's blank
_IGNORED = -100


class CtcBranch(nn.Module):
    """Bytes of the transcript from frames at 12.5 Hz, four guesses a frame."""

    def __init__(self, width: int, guesses: int = 4) -> None:
        super().__init__()
        self.guesses = guesses
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, guesses * _CHARACTERS)

    def forward(self, frames: Tensor, num_frames: Tensor, texts: tuple[str, ...]) -> Tensor:
        """The CTC loss over the clips whose text is known and short enough; 0 if there is none."""
        codes = [text.lower().encode() for text in texts]
        usable = [
            number
            for number, code in enumerate(codes)
            if 0 < len(code) <= int(num_frames[number]) * self.guesses
        ]
        if not usable:
            return frames.new_zeros(())
        guesses = self.out(self.norm(frames[usable])).float()
        log_chances = guesses.reshape(len(usable), -1, _CHARACTERS).log_softmax(-1)
        targets = torch.tensor([byte for number in usable for byte in codes[number]])
        lengths = torch.tensor([len(codes[number]) for number in usable])
        return F.ctc_loss(
            log_chances.transpose(0, 1),
            targets.to(frames.device),
            num_frames[usable] * self.guesses,
            lengths,
            zero_infinity=True,
        )


class LanguageModelBranch(nn.Module):
    """A frozen language model reads projected frames and is scored on the transcript."""

    def __init__(self, width: int, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        inner = model.get_input_embeddings().embedding_dim
        self.project = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, inner))

    def train(self, mode: bool = True) -> "LanguageModelBranch":
        """Train the projection; the language model stays as it is in use."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, frames: Tensor, num_frames: Tensor, texts: tuple[str, ...]) -> Tensor:
        """Cross-entropy of the transcripts after the frames; 0 if no text is known."""
        usable = [number for number, text in enumerate(texts) if text]
        if not usable:
            return frames.new_zeros(())
        tokens = [self._tokens(texts[number]) for number in usable]
        heard, visible = _against_the_end(self.project(frames[usable]), num_frames[usable])
        longest = max(len(each) for each in tokens)
        ids = torch.zeros(len(usable), longest, dtype=torch.long, device=frames.device)
        labels = torch.full_like(ids, _IGNORED)
        for number, each in enumerate(tokens):
            ids[number, : len(each)] = labels[number, : len(each)] = torch.tensor(each)
        said = self.model.get_input_embeddings()(ids).to(heard.dtype)
        mask = torch.cat((visible, labels != _IGNORED), dim=1).long()
        before = torch.full(heard.shape[:2], _IGNORED, device=frames.device)
        inputs = torch.cat((heard, said), dim=1).to(self.model.dtype)
        output = self.model(
            inputs_embeds=inputs, attention_mask=mask, labels=torch.cat((before, labels), dim=1)
        )
        loss: Tensor = output.loss.float()
        return loss

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]


def build_text_branch(config: TextConfig, width: int) -> nn.Module | None:
    """The branch a recipe asks for, on frames of `width`."""
    if config.kind == "none":
        return None
    if config.kind == "ctc":
        return CtcBranch(width)
    import_torchaudio()  # transformers imports it too, and fails where it cannot be loaded whole
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(config.model)
        tokenizer = AutoTokenizer.from_pretrained(config.model)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`text.model` is `{config.model}`, which cannot be loaded: "
            f"{str(error).splitlines()[0]}. Expected a transformers id or folder of a decoder-only "
            "model; check the network, or set `text.kind` to `ctc` or `none`."
        ) from error
    return LanguageModelBranch(width, model, tokenizer)


def _against_the_end(frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
    """Move each clip's frames to the end, so that the last one stands right before the text."""
    steps = torch.arange(frames.shape[1], device=frames.device)
    padding = frames.shape[1] - num_frames.to(frames.device)[:, None]
    visible = steps >= padding
    source = (steps - padding).clamp(min=0)[..., None].expand_as(frames)
    return frames.gather(1, source) * visible[..., None], visible
