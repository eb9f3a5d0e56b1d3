"""What is set on clients for S3, s3fs, so that they make fewer requests and list faster."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from inspect import signature
from typing import Any


def set_up(client: Any) -> None:
    """Leave retrying to `retries.py`, and let a listing take its dates from Python itself."""
    client.retries = 1
    if client.session is None:
        from aiobotocore.session import AioSession

        session = AioSession(**client.kwargs)
        factory = session.get_component("response_parser_factory")
        factory.set_parser_defaults(timestamp_parser=_parse_date)
        client.session = session


@cache
def whole_read(client: Any) -> Mapping[str, int]:
    """The options of this class of clients for reading a whole file in one request.

    s3fs of 2026 asks for the size first, to read large files in pieces. Those that are read whole
    here are small, and there is a manifest for each shard.
    """
    read = getattr(client, "_cat_file", client.cat_file)
    return {"max_concurrency": 1} if "max_concurrency" in signature(read).parameters else {}


def _parse_date(text: Any) -> Any:
    # botocore's own parser takes three quarters of the processor time of a listing.
    for parse in (datetime.fromisoformat, parsedate_to_datetime):  # of listings, and of headers
        try:
            return parse(text)
        except (TypeError, ValueError, AttributeError):
            continue
    from botocore.utils import parse_timestamp

    return parse_timestamp(text)
