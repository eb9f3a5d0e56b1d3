"""`xytok decode`: codes from `xytok encode` back to wav files."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs.codec_files import FileCodec, Files, Folder, list_files, target_paths, write_wav
from jobs.logs import Log, LogOptions, tell
from jobs.options import flags
from pipeline.plural import plural

if TYPE_CHECKING:
    from xy_codec.contract import CodecIdentity, Encoded


def decode(
    files: Files,
    /,
    *,
    output: Folder,
    codec: Annotated[FileCodec, flags("Codec", "precision", "compiled")] = FileCodec(),
    log: Log = LogOptions(),
) -> int:
    """Decode every file; a bad file is named and the others go on."""
    from xy_codec.errors import CodesError

    sources = list_files(files, (".npz",))
    request = codec.named()
    targets = target_paths(sources, output, ".wav")
    loaded = request.load()
    num_bad = 0
    for source, target in targets.items():
        try:
            encoded = _read(source, loaded.identity)
            [waveform] = loaded.decode_encoded([encoded], keys=[source.stem])
        except CodesError as error:
            tell(f"`{source}`: {error}")
            num_bad += 1
            continue
        # Values beyond ±1 do occur; 16-bit files saturate there, as the reference's do.
        write_wav(target, waveform.clip(-1.0, 1.0), loaded.shape.output_rate_hz)
        print(f"{target}  {len(waveform) / loaded.shape.output_rate_hz:.2f} s")
    tell(f"decoded {len(sources) - num_bad} of {plural(len(sources), 'file')}")
    return 1 if num_bad else 0


def _read(source: Path, identity: "CodecIdentity") -> "Encoded":
    import numpy as np

    from xy_codec.contract import Encoded
    from xy_codec.errors import CodesError

    try:
        with np.load(source) as data:
            encoded = Encoded(data["codes"], data.get("side"))
            made_with = json.loads(str(data["identity"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CodesError(
            f"it cannot be read ({error}); expected a file written by `xytok encode`."
        ) from error
    if made_with["checkpoint_sha256"] != identity.checkpoint_sha256:
        raise CodesError(
            f"it was encoded with `{made_with['name']}` "
            f"({made_with['checkpoint_sha256'][:8]}…), this codec is `{identity.name}` "
            f"({identity.checkpoint_sha256[:8]}…). Pass the same checkpoint with `--codec`."
        )
    return encoded
