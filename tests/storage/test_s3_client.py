"""What Storage sets on the client for S3: requests for whole files, and dates of listings."""

import pytest
from botocore.utils import parse_timestamp

from pipeline.storage.client import Storage
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_server import S3Server


def test_a_whole_file_is_read_in_one_request(s3: S3Server) -> None:
    with fault_proxy(s3.url) as proxy:
        storage = Storage({"s3": s3.storage_options(proxy.url)})
        storage.filesystem("s3://whole")[0].mkdir("whole")
        storage.write_finished("s3://whole/file", b"content")
        storage.write_finished("s3://whole/empty", b"")
        proxy.faults.seen.clear()
        assert storage.read_bytes("s3://whole/file") == b"content"
        assert storage.read_bytes("s3://whole/empty") == b""
        assert [method for method, *_ in proxy.faults.seen] == ["GET", "GET"]


@pytest.mark.parametrize(
    "date",
    [
        "2026-11-28T06:08:48.211Z",
        "2026-11-28T06:08:48Z",
        "Sat, 28 Nov 2026 06:08:48 GMT",
        "1764310128",
    ],
)
def test_dates_are_those_that_botocore_reads(date: str) -> None:
    client, _ = Storage({"s3": {"key": "k", "secret": "s"}}).filesystem("s3://dates")
    parser = client.session.get_component("response_parser_factory").create_parser("rest-xml")
    assert parser._timestamp_parser is not parse_timestamp
    assert parser._timestamp_parser(date) == parse_timestamp(date)
