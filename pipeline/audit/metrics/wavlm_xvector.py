"""SIM by a WavLM x-vector head of `transformers`, such as microsoft/wavlm-base-plus-sv."""

from pathlib import Path

from pipeline.audit.metrics.speaker_embedding import Embedding, unit
from pipeline.errors import UsageError
from xy_codec.contract import Waveform


class WavLMXVector:
    """A `WavLMForXVector` from a folder or a repo id, with its own feature extractor."""

    def __init__(self, source: str, device: str = "cpu") -> None:
        import torch
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
        self._torch = torch
        self.name = f"wavlm-xvector:{Path(source).name}"

    def embed(self, waveform: Waveform) -> Embedding:
        """The unit vector of one waveform."""
        inputs = self._features(waveform, sampling_rate=16000, return_tensors="pt")
        with self._torch.inference_mode():
            values = inputs.input_values.to(self._network.device)
            vector = self._network(values).embeddings[0].float().cpu().numpy()
        return unit(vector)
