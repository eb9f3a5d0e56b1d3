"""`load_codec`: from a name, path, URL or repository to a codec that is ready to encode."""

from collections.abc import Mapping
from pathlib import Path

from xy_codec.catalogue import Wish, find_codec
from xy_codec.contract import Codec, Option
from xy_codec.fake import FAKES, load_fake
from xy_codec.weights.source import files_sha256


def load_codec(
    source: str | Path,
    *,
    config: str | Path | None = None,
    precision: str = "exact",
    device: str = "auto",
    compiled: bool = False,
    options: Mapping[str, Option] | None = None,
    files_at: Path | None = None,
) -> Codec:
    """Load the codec behind `source`, frozen and ready.

    Args:
        source: A bundled name, a checkpoint file, a folder as the release lays it out, an fsspec
            URL or a Hugging Face repository id; `fake` gives a codec without a model.
        config: The configuration, where it does not lie beside the checkpoint.
        precision: `exact` (float32, equals the reference) or `fast`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        compiled: Compile the encoder with `torch.compile`, into a CUDA graph on a GPU, which is
            not yet proven there; its codes count as another pack geometry's.
        options: The codec's own, e.g. `{"depth": 4}` for its first four codebooks only; `xytok
            codecs` lists them.
        files_at: A folder with the files of `source`; then nothing is fetched.

    >>> import numpy
    >>> codec = xytok.load_codec("xy-nano")
    >>> clip = next(iter(xytok.open_dataset("codes")))
    >>> (speech,) = codec.decode([numpy.asarray(clip.codes)])
    >>> speech.shape, codec.shape.output_rate_hz
    ((186880,), 16000)
    >>> (codes,) = codec.encode([speech])
    >>> codes.shape
    (8, 146)
    """
    wish = Wish(precision, device, compiled, options)
    if str(source) in FAKES:
        return load_fake(str(source), wish)
    family, place = find_codec(str(source), None if config is None else str(config), files_at)
    return family.load(place, wish)


def checkpoint_sha256(source: str) -> str:
    """The hash of the weights behind `source`, without loading them; needs no torch."""
    if source in FAKES:
        return load_fake(source, Wish()).identity.checkpoint_sha256
    family, place = find_codec(source)
    return files_sha256(family.weight_files(place))
