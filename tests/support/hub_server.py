"""The few answers of a Hugging Face hub that a commit of small files and reading need, here.

It keeps what it is sent, and gives ranges of what it has. Files go inside the commit here; the real
hub takes and gives large ones by other ways, which are not tried.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote


class Hub:
    """What was asked of the server."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.ranges: list[int] = []
        self.refuses = False
        self.url = ""


def _below(hub: Hub, folder: str) -> list[str]:
    return sorted(name for name in hub.files if name.rpartition("/")[0] == folder)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": oid}


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.tokens.add(self.headers["Authorization"])
            if hub.refuses:
                self._answer({"error": "no"}, 403)
            elif self.path.endswith("/repos/create"):
                hub.created.append(json.loads(body))
                self._answer({"url": f"{hub.url}/datasets/somebody/codes"})
            elif "/paths-info/" in self.path:
                asked = [name for name in parse_qs(body.decode())["paths"] if name in hub.files]
                self._answer([_entry(name, hub.files[name]) for name in asked])
            elif "/preupload/" in self.path:
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                self._answer({"files": files})
            elif "/commit/" in self.path:
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        content = base64.b64decode(entry["value"]["content"])
                        hub.files[entry["value"]["path"]] = content
                url = f"{hub.url}/datasets/somebody/codes/commit/{'a' * 40}"
                self._answer({"success": True, "commitOid": "a" * 40, "commitUrl": url})
            else:
                self._answer({})  # such as whether the YAML of a card is valid

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            if "/tree/" in path:
                folder = path.partition("/tree/")[2].partition("/")[2]
                self._answer([_entry(each, hub.files[each]) for each in _below(hub, folder)])
            elif "/resolve/" in path:
                content = hub.files[path.partition("/resolve/")[2].partition("/")[2]]
                first, _, last = (
                    self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")
                )
                part = content[int(first) : int(last) + 1 if last else None]
                hub.ranges.append(len(part))
                self._send(part, 206, "application/octet-stream")
            else:
                self._answer({"id": "somebody/speech", "sha": "a" * 40, "siblings": []})

        def _answer(self, content: Any, status: int = 200) -> None:
            self._send(json.dumps(content).encode(), status, "application/json")

        def _send(self, content: bytes, status: int, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing: tests look at what was asked."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
