"""The S3 server of the tests is a real one: it keeps bytes, refuses strangers and creates once."""

import s3fs

from tests.support.s3_server import S3Server


def client(server: S3Server) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(**server.storage_options(), skip_instance_cache=True)


def test_what_is_put_is_listed_and_read_back(s3: S3Server) -> None:
    files = client(s3)
    files.mkdir("smoke")
    files.pipe_file("smoke/a/b", b"x" * 1000)
    assert files.find("smoke") == ["smoke/a/b"]
    assert files.cat_file("smoke/a/b", start=990) == b"x" * 10


def test_exclusive_create_refuses_the_second_writer(s3: S3Server) -> None:
    files = client(s3)
    files.mkdir("exclusive")
    files.pipe_file("exclusive/run.json", b"first", mode="create")
    refused = False
    try:
        files.pipe_file("exclusive/run.json", b"second", mode="create")
    except OSError:
        refused = True
    assert refused
    assert files.cat_file("exclusive/run.json") == b"first"


def test_wrong_credentials_are_refused(s3: S3Server) -> None:
    options = s3.storage_options() | {"secret": "wrong"}
    stranger = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    refused = False
    try:
        stranger.ls("ready")
    except PermissionError:
        refused = True
    assert refused
