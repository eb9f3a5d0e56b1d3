"""Options that several verbs share, so that one word means one thing on every command line."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, default_name_transform

if TYPE_CHECKING:
    from pipeline.storage.client import Storage

# Fields of `CodecRequest` whose flags say more than their names.
_FLAGS = {
    "source": "codec",
    "config": "codec-config",
    "options": "codec-option",
    "compiled": "compile",
}


# Fields that runs set for their workers, and no user.
_INTERNAL = ("staged", "retry")


def flags(group: str, *hidden: str) -> Parameter:
    """Every field of a settings class as a flag of its own, under one heading of the help."""
    shown = re.compile(rf"^(?!({'|'.join((*_INTERNAL, *hidden))})$)")
    return Parameter(name="*", group=group, name_transform=_flag, parse=shown)


def _flag(field: str) -> str:
    return _FLAGS.get(field, default_name_transform(field))


Json = Annotated[bool, Parameter(help="print JSON.")]
Run = Annotated[str, Parameter(help="the output folder of `xytok tokenize`.")]
Output = Parameter(name=["--output", "-o"])
StorageOptions = Annotated[
    str | None,
    Parameter(help="`@FILE` with endpoint, credentials and the like, as fsspec names them."),
]
Job = Annotated[str, Parameter(help="the id that `xytok submit` or `xytok status` tells.")]
JobCluster = Annotated[
    str | None,
    Parameter(help="the URL of the job server; default: RAY_API_SERVER_ADDRESS, then RAY_ADDRESS."),
]
Metrics = Annotated[
    str | None, Parameter(help="some of sim,stoi,pesq,acoustics,dnsmos; default: all but dnsmos.")
]
SimModel = Annotated[
    str, Parameter(help="`campplus`, `wavlm:FOLDER_OR_ID` or `verifier:CHECKPOINT`.")
]
AsrModel = Annotated[
    str | None,
    Parameter(
        help="a Whisper of transformers, FOLDER_OR_ID: word and character errors of what is heard."
    ),
]
Processes = Annotated[
    int | None, Parameter(help="processes that score; default: one a core; 0: none.")
]
Engine = Annotated[
    Literal["inline", "ray"], Parameter(help="measure in this process or on a Ray cluster.")
]
Device = Annotated[str, Parameter(help="`auto`, `cpu`, `cuda` or `cuda:N`.")]


def open_storage(options: str | None) -> "Storage":
    """Storage with the options of a file, if one was given."""
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options

    return Storage(read_storage_options(options))
