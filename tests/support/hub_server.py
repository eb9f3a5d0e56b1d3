"""The few answers of a Hugging Face hub that a commit and a download need, on this machine.

It keeps what it is sent and gives what it is offered. Files go inside the commit here; the real hub
takes and gives large ones by other ways, which are not tried.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

REVISION = "a" * 40


class Hub:
    """What was asked of the server."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.refuses = False
        self.url = ""
        # Of the one model repository.
        self.offered: dict[str, bytes] = {}
        self.asked: list[str] = []


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
                url = f"{hub.url}/datasets/somebody/codes/commit/{REVISION}"
                self._answer({"success": True, "commitOid": REVISION, "commitUrl": url})
            else:
                self._answer({})  # such as whether the YAML of a card is valid

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            name = self.path.partition(f"/resolve/{REVISION}/")[2]
            if hub.refuses:
                self._answer({"error": "no"}, 403)
            elif name:
                self._give(hub.offered[name])
            elif f"/tree/{REVISION}" in self.path:
                self._answer([_entry(name, hub.offered[name]) for name in hub.offered])
            else:
                siblings = [{"rfilename": name} for name in hub.offered]
                self._answer({"id": "some/codec", "sha": REVISION, "siblings": siblings})

        def _give(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{_entry("", content)["oid"]}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def _answer(self, content: Any, status: int = 200) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

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
