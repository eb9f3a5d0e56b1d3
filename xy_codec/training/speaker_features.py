"""How far a reconstruction's voice is from its original's for a frozen GE2E speaker encoder.

The weights are those of the package Resemblyzer (`pretrained.pt`), or any in its layout.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.mel_filters import mel_filters
from xy_codec.errors import CheckpointError

RATE_HZ = 16_000
NUM_MELS = 40
_WINDOW = 400
_HOP = 160
SLICE_SAMPLES = 160 * _HOP  # what the encoder was trained on: 1.6 s
_LEVEL = 10 ** (-30 / 20)  # root mean square of what it was trained on


class SpeakerEncoder(nn.Module):
    """Three LSTMs over mel power, a projection of the last state, unit length."""

    window: Tensor
    filters: Tensor

    def __init__(self, width: int = 256, num_layers: int = 3) -> None:
        super().__init__()
        self.lstm = nn.LSTM(NUM_MELS, width, num_layers, batch_first=True)
        self.linear = nn.Linear(width, width)
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        filters = mel_filters(RATE_HZ, _WINDOW, NUM_MELS)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Embeddings `[N, D]` of waves `[N, L]`."""
        spectrum = torch.stft(
            waves, _WINDOW, _HOP, window=self.window, pad_mode="constant", return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1)
        _, (last, _) = self.lstm((self.filters @ power).transpose(1, 2))
        return F.normalize(self.linear(last[-1]).relu(), dim=1, eps=1e-5)


class SpeakerFeatures(nn.Module):
    """One minus the cosine of embeddings, mean over the whole slices of 1.6 s of a clip."""

    def __init__(self, encoder: SpeakerEncoder, most_slices: int = 4) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.most_slices = most_slices

    def forward(self, made: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Distances `[B]` of `[B, L]` waves; 0 for clips shorter than a slice."""
        with torch.autocast(made.device.type, enabled=False):
            return self._distances(made.float(), target.float(), lengths)

    def _distances(self, made: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        level = target.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
        places = self._places(lengths)
        if not places:
            return made.new_zeros(len(made))
        slices = [
            torch.stack(
                [(wave * _LEVEL / level)[row, at : at + SLICE_SAMPLES] for row, at in places]
            )
            for wave in (made, target)
        ]
        with torch.no_grad():
            theirs = self.encoder(slices[1])
        apart = 1 - (self.encoder(slices[0]) * theirs).sum(1)
        rows = torch.tensor([row for row, _ in places], device=made.device)
        count = torch.bincount(rows, minlength=len(made)).clamp(min=1)
        return made.new_zeros(len(made)).index_add(0, rows, apart) / count

    def _places(self, lengths: Tensor) -> list[tuple[int, int]]:
        """Row and first sample of slices, spread evenly over each clip."""
        places = []
        for row, length in enumerate(lengths.tolist()):
            count = min(self.most_slices, length // SLICE_SAMPLES)
            for number in range(count):
                room = length // count - SLICE_SAMPLES
                places.append((row, number * (length // count) + room // 2))
        return places


def load_speaker_encoder(path: str) -> SpeakerFeatures:
    """The encoder in a `pretrained.pt` of Resemblyzer, or in a file of its state alone."""
    try:
        loaded = torch.load(Path(path), map_location="cpu", weights_only=True)
    except (OSError, UnpicklingError, RuntimeError) as error:
        raise CheckpointError(
            f"`losses.speaker_encoder` is `{path}`, which cannot be loaded: {error}. Expected "
            "`pretrained.pt` of the package Resemblyzer; correct the path."
        ) from error
    state = loaded.get("model_state", loaded)
    kept = {name: each for name, each in state.items() if name.startswith(("lstm.", "linear."))}
    encoder = SpeakerEncoder(*_sizes(kept, path))
    encoder.load_state_dict(kept)
    return SpeakerFeatures(encoder)


def _sizes(state: Mapping[str, Tensor], path: str) -> tuple[int, int]:
    names = [name for name in state if name.startswith("lstm.weight_hh_l")]
    if not names or "linear.weight" not in state:
        raise CheckpointError(
            f"`losses.speaker_encoder` is `{path}`, which holds {sorted(state)[:3]}; expected the "
            "LSTM and the linear layer of Resemblyzer's `pretrained.pt`. Correct the path."
        )
    return len(state["linear.weight"]), len(names)
