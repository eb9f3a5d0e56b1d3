"""`xytok encode`: audio files to codes, one `.npz` per file."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs.codec_files import FileCodec, Files, Folder, list_files, target_paths
from jobs.logs import Log, LogOptions, tell
from jobs.options import flags
from pipeline.plural import plural

if TYPE_CHECKING:
    from xy_codec.codes_shape import CodesShape
    from xy_codec.contract import CodecIdentity, Encoded, Waveform

_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def encode(
    files: Files,
    /,
    *,
    output: Folder,
    codec: Annotated[FileCodec, flags("Codec")] = FileCodec(),
    log: Log = LogOptions(),
) -> int:
    """Encode every file; a bad file is named and the others go on.

    Results lie in the output as the files lie below the folders that were given.
    """
    sources = list_files(files, _SUFFIXES)
    request = codec.named()
    targets = target_paths(sources, output, ".npz")
    loaded = request.load()
    bad: list[Path] = []
    done = 0
    for source, encoded in loaded.encode_stream(_waveforms(sources, loaded.shape, bad)):
        _write(targets[source], encoded, loaded.identity)
        print(f"{targets[source]}  {encoded.codes.shape[1]} frames")
        done += 1
    tell(f"encoded {done} of {plural(len(sources), 'file')} with {loaded.identity.name}")
    return 1 if bad else 0


def _waveforms(
    sources: Iterable[Path], shape: "CodesShape", bad: list[Path]
) -> Iterator[tuple[Path, "Waveform"]]:
    from xy_codec.audio import read_audio
    from xy_codec.errors import AudioError
    from xy_codec.inputs import check_waveform

    for source in sources:
        try:
            waveform = read_audio(source, shape.input_rate_hz)
            check_waveform(waveform, shape, None, f"`{source}`")
        except AudioError as error:
            tell(error)
            bad.append(source)
        else:
            yield source, waveform


def _write(target: Path, encoded: "Encoded", identity: "CodecIdentity") -> None:
    import numpy as np

    part = target.with_suffix(".part")
    with part.open("wb") as file:
        values = {"codes": encoded.codes, "identity": np.array(json.dumps(identity.to_dict()))}
        if encoded.side is not None:
            values["side"] = encoded.side
        np.savez_compressed(file, allow_pickle=False, **values)
    part.replace(target)
