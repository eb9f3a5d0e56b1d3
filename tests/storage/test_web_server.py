"""Shards of web servers, those without ranges too: the bytes are right, or the error is clear."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.errors import InputError, StorageError
from pipeline.storage.client import Storage
from pipeline.storage.retries import RetryPolicy
from pipeline.storage.streams import BLOCK_BYTES, remote_blocks
from tests.support.inline_run import run_shards
from tests.support.shard_maker import audio, pairs, write_shard

CONTENT = random.Random(3).randbytes(2 * BLOCK_BYTES + 12_345)
QUICK = Storage(policy=RetryPolicy(attempts=3, first_pause_seconds=0.01))


@dataclass
class Behaviour:
    """How the server answers; `cuts` and `shorts` are how many answers still break."""

    content: bytes = CONTENT
    ranges: bool = False
    cuts: int = 0
    shorts: int = 0
    asked: list[str] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    behaviour: Behaviour


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._head(200, len(self.server.behaviour.content))

    def do_GET(self) -> None:
        behaviour, asked = self.server.behaviour, self.headers.get("Range")
        behaviour.asked.append(asked or "all")
        content, status = behaviour.content, 200
        if behaviour.ranges and asked:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            content, status = content[first : last + 1], 206
        if behaviour.shorts and len(content) > 1:
            behaviour.shorts -= 1
            content = content[:-1]
        self._head(status, len(content))
        if behaviour.cuts and not asked:
            behaviour.cuts -= 1
            content = content[: BLOCK_BYTES + 99]
        # A client that has what it wants hangs up.
        with suppress(OSError):
            self.wfile.write(content)

    def _head(self, status: int, length: int) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    server.behaviour = behaviour
    thread = threading.Thread(target=server.serve_forever, daemon=True, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/s.tar"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read_all(url: str) -> bytes:
    return b"".join(remote_blocks(QUICK.file_info(url), QUICK))


def test_a_shard_of_a_server_without_ranges_has_every_clip(tmp_path: Path) -> None:
    sound = audio(3.0, kind="wav")
    members = [
        (f"{n:02d}{end}", b) for n in range(40) for end, b in ((".wav", sound), (".json", b"{}"))
    ]
    tar = write_shard(tmp_path / "in/s.tar", members)
    assert tar.stat().st_size > BLOCK_BYTES
    with serving(Behaviour(tar.read_bytes())) as url:
        result = run_shards(list_shards([url], QUICK), tmp_path / "out")["s.tar"]
    assert len(result.rows) == 40
    assert result.manifest.holes == ()


def test_a_signature_in_a_url_is_in_no_file(tmp_path: Path) -> None:
    tar = write_shard(tmp_path / "in/s.tar", [*pairs(2), ("bad.mp3", b"no sound")])
    with serving(Behaviour(tar.read_bytes(), ranges=True)) as url:
        shards = list_shards([f"{url}?X-Amz-Signature=hush-hush"], QUICK)
        result = run_shards(shards, tmp_path / "out")["s.tar"]
    assert result.manifest.url == url
    assert (len(result.rows), len(result.rejects)) == (2, 1)
    files = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not any(b"hush-hush" in content for content in files)


@pytest.mark.parametrize(("ranges", "num_requests"), [(True, 3), (False, 1)])
def test_the_blocks_are_those_of_the_file_and_each_is_asked_for_once(
    ranges: bool, num_requests: int
) -> None:
    behaviour = Behaviour(ranges=ranges)
    with serving(behaviour) as url:
        assert read_all(url) == CONTENT
    assert behaviour.asked[0] == "bytes=0-0"
    assert len(set(behaviour.asked[1:])) == len(behaviour.asked[1:]) == num_requests


def test_a_lost_connection_begins_again_and_gives_no_byte_twice() -> None:
    with serving(Behaviour(cuts=2)) as url:
        assert read_all(url) == CONTENT


def test_a_server_that_always_breaks_off_is_given_up() -> None:
    behaviour = Behaviour(cuts=1000)
    # A client may meet the break before it took the bytes that came until then.
    gives_up = "broke off again and again|failed 3 times"
    with serving(behaviour) as url, pytest.raises(StorageError, match=gives_up):
        read_all(url)
    assert behaviour.cuts >= 990


def test_a_whole_file_is_not_taken_for_a_range_of_it() -> None:
    with serving(Behaviour()) as url, pytest.raises(InputError, match="where 400 were asked for"):
        QUICK.read_range(url, 100, 500)


def test_a_short_block_is_asked_for_again() -> None:
    with serving(Behaviour(ranges=True, shorts=2)) as url:
        assert QUICK.read_range(url, 100, 500) == CONTENT[100:500]


def test_blocks_that_are_always_short_end_with_an_error() -> None:
    behaviour = Behaviour(ranges=True, shorts=1000)
    with serving(behaviour) as url, pytest.raises(StorageError, match="499 bytes came where 500"):
        QUICK.read_range(url, 0, 500)
    assert behaviour.shorts == 997
