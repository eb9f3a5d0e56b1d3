"""A real HTTP proxy before a real server; it fails on purpose: errors, resets, lost answers."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_SLOW_BLOCK = 16 << 10
RETRY_AFTER_SECONDS = 1


@dataclass
class Faults:
    """Which request meets which fault; a rule is asked with method, path and the request's number.

    Rules answer None, or one of `500`, `throttled` (503 with `Retry-After`), `forbidden`, `reset`,
    `half` (the body is cut, the server never sees the end), `lost` (the server does it, the client
    gets no answer) and `slow`.
    """

    rule: Callable[[str, str, int], str | None] = lambda method, path, number: None
    count: int = 0
    met: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, method: str, path: str) -> str | None:
        with self.lock:
            self.count += 1
            fault = self.rule(method, path, self.count)
            if fault:
                self.met.append(fault)
            return fault


@dataclass(frozen=True)
class FaultProxy:
    url: str
    faults: Faults


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(target)
        self.faults = Faults()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients whose connection was reset are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *args: object) -> None:
        return

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.faults.seen.append((self.command, self.path, headers))
        fault = self.server.faults.next_fault(self.command, self.path)
        if fault == "500":
            self._answer(500, [], b"<Error><Code>InternalError</Code></Error>")
        elif fault == "throttled":
            wait = [("Retry-After", str(RETRY_AFTER_SECONDS))]
            self._answer(503, wait, b"<Error><Code>SlowDown</Code></Error>")
        elif fault == "forbidden":
            self._answer(403, [], b"<Error><Code>ExpiredToken</Code></Error>")
        elif fault == "reset":
            self._reset()
        elif fault == "half":
            self._send_half(body)
            self._reset()
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def _connection(self) -> http.client.HTTPConnection:
        upstream = self.server.upstream
        return http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)

    def _forward(self, body: bytes, fault: str | None) -> None:
        connection = self._connection()
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        length = response.getheader("Content-Length")
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP_HEADERS]
        connection.close()
        if fault == "lost":
            self._reset()
        else:
            self._answer(response.status, kept, content, length, slow=fault == "slow")

    def _send_half(self, body: bytes) -> None:
        # The server is promised all bytes and gets half of them.
        connection = self._connection()
        connection.putrequest(self.command, self.path, skip_host=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[: len(body) // 2])
        connection.close()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        length: str | None = None,
        *,
        slow: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", (length or "0") if is_head else str(len(content)))
        self.end_headers()
        if is_head:
            return
        step = _SLOW_BLOCK if slow else max(1, len(content))
        for start in range(0, len(content), step):
            self.wfile.write(content[start : start + step])
            if slow:
                time.sleep(0.02)


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """Run a proxy before `target` on a free port."""
    server = _Server(target)
    thread = threading.Thread(target=server.serve_forever, daemon=True, args=(0.05,))
    thread.start()
    try:
        yield FaultProxy(f"http://127.0.0.1:{server.server_address[1]}", server.faults)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
