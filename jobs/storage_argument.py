"""`--storage-options`, for every command that reads an output."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.storage.client import Storage


def add_storage_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument("--storage-options", metavar="@FILE", help="endpoint and credentials")


def storage_of(args: argparse.Namespace) -> "Storage":
    """Storage with the options of a file, if one was given."""
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options

    return Storage(read_storage_options(args.storage_options))
