"""SIM: the cosine of two speaker embeddings, always named by the model that made them.

Scores of different models are different quantities: CAM++ gives other people about 0.4, a WavLM
verifier about 0.1. `load_speaker_model` is the one way to a model; results carry its `name`.
"""

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from pipeline.audit.metrics.speaker_embedding import Embedding, SpeakerModel, cosine, unit
from pipeline.errors import UsageError
from xy_codec.contract import Waveform

RATE_HZ = 16000
DEFAULT_MODEL = "campplus"
_MELS = 80
# CAM++ pools frames of 10 ms; below a quarter second an embedding says nothing about a voice.
_SHORTEST_SECONDS = 0.25


def load_speaker_model(source: str = DEFAULT_MODEL, device: str = "cpu") -> SpeakerModel:
    """The model a user named: `campplus`, `wavlm:FOLDER_OR_ID` or `verifier:CHECKPOINT`."""
    kind, _, where = source.partition(":")
    if source == DEFAULT_MODEL:
        return CampPlus()
    if kind == "wavlm" and where:
        from pipeline.audit.metrics.wavlm_xvector import WavLMXVector

        return WavLMXVector(where, device)
    if kind == "verifier" and where:
        from pipeline.audit.metrics.wavlm_verifier import load_verifier

        return load_verifier(Path(where), device)
    raise UsageError(
        f"`{source}` is not a speaker model; expected `campplus`, `wavlm:FOLDER_OR_ID` or "
        "`verifier:CHECKPOINT.pth`. Name one of these with `--sim-model`."
    )


def similarity(model: SpeakerModel, original: Waveform, reconstruction: Waveform) -> float:
    """Cosine of both embeddings, 1.0 for identical audio.

    Raises:
        NotMeasurable: less than a quarter second, or silence.
    """
    shortest = min(len(original), len(reconstruction))
    if shortest < _SHORTEST_SECONDS * RATE_HZ:
        raise NotMeasurable(Reason.TOO_SHORT)
    if not (np.any(original) and np.any(reconstruction)):
        raise NotMeasurable(Reason.SILENT)
    return cosine(model.embed(original), model.embed(reconstruction))


class CampPlus:
    """CAM++ (192 dimensions) from the file in `models/`; ONNX Runtime on one thread."""

    name = "campplus"

    def __init__(self) -> None:
        self._session = _campplus_session()

    def embed(self, waveform: Waveform) -> Embedding:
        """The unit vector of one waveform."""
        features = _filter_banks(waveform)
        (vectors,) = self._session.run(None, {"features": features[None]})
        return unit(vectors[0])


@lru_cache(maxsize=1)
def _campplus_session() -> Any:
    file = resources.files("pipeline.audit.metrics.models") / "campplus.onnx"
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
