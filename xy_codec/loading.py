"""`load_codec`: from a name, path, URL or repository to a codec that is ready to encode."""

from collections.abc import Mapping
from pathlib import Path

from xy_codec.catalogue import Wish, families, find_codec
from xy_codec.contract import Codec, Option
from xy_codec.errors import CheckpointError, CodecNotFoundError, ConfigError
from xy_codec.fake import FAKES, load_fake
from xy_codec.nearest_name import closest
from xy_codec.weights.source import bundled_names, check_protocol, files_sha256, is_repository


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
    source, config = str(source), None if config is None else str(config)
    wish = Wish(precision, device, compiled, options)
    if files_at is None:
        check_codec(source, config, wish)
    if source in FAKES:
        return load_fake(source, wish)
    try:
        family, place = find_codec(source, config, files_at)
    except CheckpointError as error:
        close = release_like(source)
        if close is None:
            raise
        raise CheckpointError(f"{error} The release most like it is `{close}`.") from error
    return family.load(place, wish)


def check_codec(source: str, config: str | None, wish: Wish) -> None:
    """Refuse names, options and a precision that cannot be meant; fetches and loads nothing."""
    for place in (source, config or ""):
        if "://" in place:
            check_protocol(place)
    if config and "://" not in config and not Path(config).exists():
        raise ConfigError(
            f"Configuration `{config}` does not exist; expected the YAML of the codec `{source}`. "
            "Correct the path."
        )
    if source in FAKES:
        load_fake(source, wish)
    elif "://" in source:
        return
    elif source in bundled_names() or Path(source).exists():
        family, _ = find_codec(source, config if config and "://" not in config else None)
        family.check(wish)
    elif is_repository(source):
        for family in families():
            if any(release.source == source for release in family.releases):
                family.check(wish)
    else:
        close = closest(source.lower(), {*bundled_names(), *FAKES})
        raise CodecNotFoundError(
            f"Codec `{source}` was not found; expected {f'`{close}`, ' if close else ''}a file or "
            "folder that is there, a URL such as `s3://bucket/codec/`, a Hugging Face repository "
            f"such as `fdugyt/XY_Tokenizer`, or one of the bundled names {bundled_names()}. Check "
            "the spelling; `xytok codecs` lists the releases."
        )


def release_like(source: str) -> str | None:
    """The release that a repository is most like, where it is none itself."""
    released = {release.source for family in families() for release in family.releases}
    is_one = source in released or not is_repository(source)
    return None if is_one else closest(source, released)


def checkpoint_sha256(source: str) -> str:
    """The hash of the weights behind `source`, without loading them; needs no torch."""
    if source in FAKES:
        return load_fake(source, Wish()).identity.checkpoint_sha256
    family, place = find_codec(source)
    return files_sha256(family.weight_files(place))
