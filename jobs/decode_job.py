"""`xytok decode`: codes from `xytok encode` back to wav files."""

import argparse
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.codec_options import (
    add_codec_arguments,
    complain,
    list_files,
    open_codec,
    target_paths,
)

if TYPE_CHECKING:
    from xy_codec.contract import CodecIdentity, Codes

EXAMPLE = "xytok decode codes/ -o wavs/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="`.npz` files or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where wavs go")
    add_codec_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Decode every file; a bad file is named and the others go on."""
    import soundfile

    from xy_codec.errors import CodesError

    sources = list_files(args.files, (".npz",))
    targets = target_paths(sources, Path(args.output), ".wav")
    codec = open_codec(args, "exact")
    num_bad = 0
    for source, target in zip(sources, targets, strict=True):
        try:
            [waveform] = codec.decode([_read(source, codec.identity)])
        except CodesError as error:
            complain(f"`{source}`: {error}")
            num_bad += 1
            continue
        # Values beyond ±1 do occur; 16-bit files saturate there, as the reference's do.
        soundfile.write(target, waveform.clip(-1.0, 1.0), codec.identity.output_rate_hz)
        print(f"{target}  {len(waveform) / codec.identity.output_rate_hz:.2f} s")
    complain(f"decoded {len(sources) - num_bad} of {len(sources)} files")
    return 1 if num_bad else 0


def _read(source: Path, identity: "CodecIdentity") -> "Codes":
    import numpy as np

    from xy_codec.errors import CodesError

    try:
        with np.load(source) as data:
            codes: Codes = data["codes"]
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
    return codes
