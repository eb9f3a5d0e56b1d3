"""One adapter over the codec classes of transformers: what a row of `table.py` says, done.

Weights come from a local folder and run no code of it; the model stays in float32.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.contract import Option, Waveform
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.hub.packages import in_one_line
from xy_codec.hub.table import Config, Row
from xy_codec.torchaudio_import import import_torchaudio


class TransformersModel:
    """A class of transformers with its feature extractor."""

    def __init__(
        self,
        row: Row,
        module: Any,
        extractor: Any,
        option: Mapping[str, Option],
        device: torch.device,
    ) -> None:
        """Encode with the codebooks that `option` chooses, by its name here."""
        self.module: nn.Module = module.to(device)
        self._encode, self._decode = module.encode, module.decode
        self._row = row
        self.sampling_rate: int = extractor.sampling_rate
        self._extractor = extractor
        self._arguments = dict.fromkeys([row.choice_argument], *option.values()) if option else {}
        self._device = device
        self._wanted = set(inspect.signature(module.encode).parameters)

    def encode(self, waveform: Waveform) -> Tensor:
        """Codes `[K, T]`, as the class gives them for one clip."""
        features = self._extractor(waveform, sampling_rate=self.sampling_rate, return_tensors="pt")
        # Copies, because tensors that share an array's memory are not aligned as torch aligns.
        inputs = {
            name: tensor.to(self._device, copy=True)
            for name, tensor in features.items()
            if name in self._wanted
        }
        codes: Tensor = self._encode(**inputs, **self._arguments, return_dict=True).audio_codes
        return codes.reshape(codes.shape[-2:])

    def decode(self, codes: Tensor, _seed: int | None) -> Tensor:
        """Samples of codes `[K', T]`; none of these classes draws noise."""
        batch, scales = codes.to(self._device)[None], {}
        if self._row.is_chunked:
            batch, scales = batch[None], {"audio_scales": [None]}
        samples: Tensor = self._decode(audio_codes=batch, **scales, return_dict=True).audio_values
        return samples.flatten()

    def embed(self, codes: Tensor) -> Tensor:
        """Quantised embeddings `[D, T]` of codes `[K', T]`."""
        steps: Tensor = self._row.embed(self.module, codes.to(self._device))
        return steps


def read_transformers_config(folder: Path, row: Row) -> Config:
    """The configuration of a folder, with the defaults of what it leaves out."""
    with _quiet_transformers() as transformers:
        if not hasattr(transformers, row.model):
            raise ConfigError(
                f"transformers {transformers.__version__} has no `{row.model}`; expected "
                f"{row.since} or later. Install it with `pip install 'xytok[codecs]'`."
            )
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # its checks raise many kinds
            raise ConfigError(
                f"`{folder / 'config.json'}` is refused by transformers: {in_one_line(error)}. "
                "Expected the file as it was published."
            ) from error
    wrong = [
        f"`{name}` is {getattr(config, name)!r}, expected {value!r}"
        for name, value in row.required.items()
        if getattr(config, name) != value
    ]
    if wrong:
        raise ConfigError(
            f"`{folder / 'config.json'}` is a {row.model} that xytok has no codes for: "
            f"{'; '.join(wrong)}. Use a release for mono speech."
        )
    return config


def load_transformers_model(
    folder: Path, row: Row, config: Config, option: Mapping[str, Option], device: torch.device
) -> TransformersModel:
    """The model of a folder in float32, every weight from its checkpoint, and its extractor."""
    with _quiet_transformers() as transformers:
        try:
            module, report = getattr(transformers, row.model).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            extractor = transformers.AutoFeatureExtractor.from_pretrained(
                folder, trust_remote_code=False
            )
        except Exception as error:  # a damaged file has many kinds
            raise CheckpointError(
                f"`{folder}` cannot be loaded as a {row.model}: {in_one_line(error)}. Expected "
                "the files as they were published; download them again."
            ) from error
    # transformers would fill these with random numbers, others in every process. The mask is for
    # training alone, and some releases are without it.
    missing = [key for key in report["missing_keys"] if not key.endswith("masked_spec_embed")]
    if missing:
        raise CheckpointError(
            f"`{folder}` has no weights for parts of its {row.model} ({len(missing)}): "
            f"{', '.join(sorted(missing)[:3])}. Expected all of them; download the files again."
        )
    rate = row.rates_hz(config)[0]
    if extractor.sampling_rate != rate:
        raise ConfigError(
            f"`{folder / 'preprocessor_config.json'}` is for {extractor.sampling_rate} Hz; "
            f"expected {rate} Hz as in its config.json. Use the files of one release."
        )
    return TransformersModel(row, module.eval(), extractor, option, device)


def attention_of(module: nn.Module) -> str:
    """How attention is computed, as transformers names it: `eager`, `sdpa` or both."""
    configs: list[Any] = [each.config for each in module.modules() if hasattr(each, "config")]
    return "+".join(sorted({str(each._attn_implementation) for each in configs}))


@contextmanager
def _quiet_transformers() -> Iterator[Any]:
    """transformers without its progress bars and warnings, which are for people who train."""
    import_torchaudio()  # transformers imports it too, and fails where it cannot be loaded whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
        from transformers.utils import logging

        verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield transformers
        finally:
            logging.set_verbosity(verbosity)
            if has_bar:
                logging.enable_progress_bar()
