"""The formats by the names that `--to` takes: a new one is a file in `formats/` and a line here."""

from importlib import import_module

from pipeline.errors import UsageError
from pipeline.export.contract import Format
from xy_codec.nearest_name import nearest

FORMATS = {
    "omnivoice": "pipeline.export.formats.omnivoice:OmniVoice",
    "moss-ttsd": "pipeline.export.formats.moss_ttsd:MossTtsd",
    "jsonl": "pipeline.export.formats.jsonl:JsonLines",
    "shar": "pipeline.export.formats.shar:Shar",
    "flat": "pipeline.export.formats.flat:Flat",
    "megatron": "pipeline.export.formats.megatron:Megatron",
    "datatrove": "pipeline.export.formats.datatrove:Datatrove",
    "parquet": "pipeline.export.formats.parquet:Parquet",
    "fish": "pipeline.export.formats.fish:Fish",
    "mds": "pipeline.export.formats.mds:Mds",
    "webdataset": "pipeline.export.formats.webdataset_tars:WebDatasetTars",
    "parts": "pipeline.export.formats.parts:Parts",
}


def find_format(name: str) -> type[Format]:
    """The format of a name."""
    if name not in FORMATS:
        raise UsageError(
            f"`--to {name}` is no format; expected {nearest(name, FORMATS)}; "
            "`xytok export -h` lists them"
        )
    module, _, kind = FORMATS[name].partition(":")
    found: type[Format] = getattr(import_module(module), kind)
    return found
