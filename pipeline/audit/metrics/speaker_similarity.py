"""SIM: the cosine of two speaker embeddings, always named by the model that made them.

Scores of different models are different quantities: CAM++ gives other people about 0.4, a WavLM
verifier about 0.1. Results carry the `name` of their model. CAM++ runs in the processes that score,
and so does WavLM on a machine without a GPU; with one, `device_speaker_model` embeds whole shards
on it, beside the codec.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.metrics.reasons import Reason
from pipeline.errors import UsageError
from xy_codec.contract import Waveform

RATE_HZ = 16000
DEFAULT_MODEL = "campplus"
_MELS = 80
# CAM++ pools frames of 10 ms; below a quarter second an embedding says nothing about a voice.
_SHORTEST_SECONDS = 0.25
Embedding = NDArray[np.float32]


class SpeakerModel(Protocol):
    """Turns 16 kHz waveforms into vectors, whose directions are voices."""

    @property
    def name(self) -> str:
        """The name every SIM made with this model carries."""
        ...

    def embed(self, waveforms: Sequence[Waveform]) -> list[Embedding]:
        """The vector of each waveform, which does not depend on the others."""
        ...


def load_speaker_model(source: str = DEFAULT_MODEL, device: str = "cpu") -> SpeakerModel:
    """The model a user named: `campplus`, `wavlm:FOLDER_OR_ID` or `verifier:CHECKPOINT`."""
    kind, _, where = source.partition(":")
    if source == DEFAULT_MODEL:
        return CampPlus()
    if kind == "wavlm" and where:
        return WavLMXVector(where, device)
    if kind == "verifier" and where:
        from pipeline.audit.metrics.wavlm_verifier import load_verifier

        return load_verifier(Path(where), device)
    raise UsageError(
        f"`{source}` is not a speaker model; expected `campplus`, `wavlm:FOLDER_OR_ID` or "
        "`verifier:CHECKPOINT.pth`. Name one of these with `--sim-model`."
    )


def device_speaker_model(source: str, device: str) -> SpeakerModel | None:
    """A WavLM on the GPU that the codec is on; None where the processes that score run the model.

    CAM++ stays in those processes: ONNX Runtime of the extra `audit` has no GPU, and it takes about
    as long as PESQ there.
    """
    if source == DEFAULT_MODEL:
        return None
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return None if device == "cpu" else load_speaker_model(source, device)


def similarities(
    model: SpeakerModel, pairs: Sequence[tuple[Waveform, Waveform]]
) -> list[float | Reason]:
    """Cosine of both embeddings of each pair, 1.0 for identical audio; or why there is none."""
    cut = [_of_one_length(*pair) for pair in pairs]
    reasons = [_fault(*pair) for pair in cut]
    heard = [pair for pair, reason in zip(cut, reasons, strict=True) if reason is None]
    vectors = iter(model.embed([side for pair in heard for side in pair]))
    return [
        _cosine(next(vectors), next(vectors)) if reason is None else reason for reason in reasons
    ]


def _of_one_length(left: Waveform, right: Waveform) -> tuple[Waveform, Waveform]:
    length = min(len(left), len(right))
    return left[:length], right[:length]


def _fault(left: Waveform, right: Waveform) -> Reason | None:
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Reason.NON_FINITE
    if len(left) < _SHORTEST_SECONDS * RATE_HZ:
        return Reason.TOO_SHORT
    if not (np.any(left) and np.any(right)):
        return Reason.SILENT
    return None


def _cosine(left: Embedding, right: Embedding) -> float:
    """Cosine of two vectors, kept within [-1, 1]."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    cosine = left @ right / (np.linalg.norm(left) * np.linalg.norm(right))
    return float(np.clip(cosine, -1.0, 1.0))


class CampPlus:
    """CAM++ (192 dimensions) from the file in `models/`; ONNX Runtime on one thread."""

    name = "campplus"

    def __init__(self) -> None:
        self._session = _campplus_session()

    def embed(self, waveforms: Sequence[Waveform]) -> list[Embedding]:
        """The vectors, one clip after the other."""
        banks = (_filter_banks(waveform) for waveform in waveforms)
        return [self._session.run(None, {"features": each[None]})[0][0] for each in banks]


@lru_cache(maxsize=1)
def _campplus_session() -> Any:
    file = resources.files("pipeline.audit.metrics") / "models" / "campplus.onnx"
    return onnx_session(file.read_bytes())


def onnx_session(model: bytes | str) -> Any:
    """A session of one thread: audits run one process a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Every length of clip grows the arena and keeps a plan: 1.6 GB a process after five clips
    # instead of 0.3 GB, and no faster.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _filter_banks(waveform: Waveform) -> NDArray[np.float32]:
    """Kaldi's 80 log-mel filter banks `[frames, 80]`, mean of the clip removed."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = _MELS
    banks = kaldi_native_fbank.OnlineFbank(options)
    banks.accept_waveform(RATE_HZ, waveform.tolist())
    banks.input_finished()
    frames = np.stack([banks.get_frame(index) for index in range(banks.num_frames_ready)])
    return np.asarray(frames - frames.mean(axis=0), dtype=np.float32)


class WavLMXVector:
    """A `WavLMForXVector`, such as microsoft/wavlm-base-plus-sv, with its own feature extractor.

    One clip at a time: the base model normalises over time, where padding would change a clip.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        from transformers import AutoFeatureExtractor, WavLMForXVector

        try:
            self._features = AutoFeatureExtractor.from_pretrained(source)
            network = WavLMForXVector.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"Speaker model `{source}` cannot be loaded ({error}); expected a folder or repo "
                "id of a WavLMForXVector. Download it first, or use `--sim-model campplus`."
            ) from error
        self._network = network.eval().to(device)
        self.name = f"wavlm-xvector:{Path(source).name}"

    def embed(self, waveforms: Sequence[Waveform]) -> list[Embedding]:
        """The vectors, one clip after the other."""
        return [self._embed_one(waveform) for waveform in waveforms]

    def _embed_one(self, waveform: Waveform) -> Embedding:
        import torch

        inputs = self._features(waveform, sampling_rate=RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            values = inputs.input_values.to(self._network.device)
            return np.asarray(self._network(values).embeddings[0].float().cpu())
