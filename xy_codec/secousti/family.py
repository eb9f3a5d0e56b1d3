"""SecoustiCodec in the catalogue: how its files are known, and its releases."""

from dataclasses import dataclass
from pathlib import Path

from xy_codec.catalogue import Family, Release
from xy_codec.codes_shape import CodesShape
from xy_codec.errors import CheckpointError
from xy_codec.options import ProgramOptions
from xy_codec.secousti.config import HOP_SAMPLES, MIN_SAMPLES, SAMPLE_RATE_HZ, CodecConfig
from xy_codec.secousti.released import LICENCE, RELEASES, REPOSITORY, released_config
from xy_codec.weights.source import CodecPlace

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_VOCODER = "hift"


@dataclass(frozen=True)
class SecoustiOptions(ProgramOptions):
    """The options of a SecoustiCodec.

    Attributes:
        allow_upsampling: take clips that were recorded below 22,050 Hz. The reference refuses
            them: its training saw nothing that was resampled up.
        program: see `ProgramOptions`.
    """

    allow_upsampling: bool = False


def shape_of(config: CodecConfig, allow_upsampling: bool = False) -> CodesShape:
    """The shape of the codes of a model of these sizes."""
    hop = config.samples_per_token
    return CodesShape(
        input_rate_hz=SAMPLE_RATE_HZ,
        output_rate_hz=SAMPLE_RATE_HZ,
        samples_per_frame=hop,
        output_samples_per_frame=hop,
        codebook_sizes=(config.codebook_size,),
        semantic_codebooks=(0,),
        # A token owns whole frames of log-mel, of which the last one may have fewer.
        padding_samples=hop - HOP_SAMPLES,
        min_samples=MIN_SAMPLES,
        min_source_rate_hz=0 if allow_upsampling else SAMPLE_RATE_HZ,
        side_floats=config.state_width,
    )


def codec_files(place: CodecPlace) -> tuple[Path, Path]:
    """The codec's file and the vocoder's, which lie side by side."""
    codecs, vocoder = _files_of(place.path)
    if vocoder is None or len(codecs) != 1:
        found = ", ".join(f"`{path.name}`" for path in codecs) or "none"
        raise CheckpointError(
            f"`{place.source}` holds {len(codecs)} codec files of a SecoustiCodec ({found}) and "
            f"{'no' if vocoder is None else 'a'} `{_VOCODER}.pt`. Expected one beside "
            f"`{_VOCODER}.pt`. Put both files into a folder, or, where both releases lie there, "
            "pass the file of one."
        )
    return codecs[0], vocoder


def _recognises(place: CodecPlace) -> bool:
    codecs, vocoder = _files_of(place.path)
    released = {file for _, file in RELEASES.values()}
    return bool(codecs) and (vocoder is not None or codecs[0].name in released)


def _files_of(path: Path) -> tuple[list[Path], Path | None]:
    folder = path if path.is_dir() else path.parent
    weights = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    vocoder = next((file for file in weights if file.stem == _VOCODER), None)
    codecs = [file for file in weights if file != vocoder] if path.is_dir() else [path]
    return codecs, vocoder


FAMILY = Family(
    name="SecoustiCodec",
    package="xy_codec.secousti",
    recognises=_recognises,
    releases=[
        Release(REPOSITORY, shape_of(released_config(stride)), LICENCE, file)
        for stride, (_, file) in RELEASES.items()
    ],
    company="packed",
    options=SecoustiOptions,
    weight_files=codec_files,
)
