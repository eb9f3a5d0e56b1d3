"""The few answers of a Hugging Face hub that a commit, a download and reading need, here.

It keeps what it is sent, and gives what it has. Files go inside the commit here; the real hub takes
and gives large ones by other ways, which are not tried.
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

REVISION = "a" * 40


class Hub:
    """What was asked of the server."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.ranges: list[int] = []
        self.refuses = False
        self.url = ""
        self.asked: list[str] = []


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
                url = f"{hub.url}/datasets/somebody/codes/commit/{REVISION}"
                self._answer({"success": True, "commitOid": REVISION, "commitUrl": url})
            else:
                self._answer({})  # such as whether the YAML of a card is valid

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            path, _, query = unquote(self.path).partition("?")
            folder = path.partition("/tree/")[2].partition("/")[2]
            if hub.refuses:
                self._answer({"error": "no"}, 403)
            elif "/resolve/" in path:
                self._give(hub.files[path.partition("/resolve/")[2].partition("/")[2]])
            elif "/tree/" in path:
                names = sorted(hub.files) if "recursive=True" in query else _below(hub, folder)
                self._answer([_entry(each, hub.files[each]) for each in names])
            else:
                siblings = [{"rfilename": name} for name in hub.files]
                self._answer({"id": "somebody/speech", "sha": REVISION, "siblings": siblings})

        def _give(self, content: bytes) -> None:
            oid, asked = _entry("", content)["oid"], self.headers.get("Range")
            if asked:
                first, _, last = asked.partition("=")[2].partition("-")
                content = content[int(first) : int(last) + 1 if last else None]
                hub.ranges.append(len(content))
            facts = {"ETag": f'"{oid}"', "X-Repo-Commit": REVISION}
            self._send(content, 206 if asked else 200, "application/octet-stream", facts)

        def _answer(self, content: Any, status: int = 200) -> None:
            self._send(json.dumps(content).encode(), status, "application/json", {})

        def _send(self, content: bytes, status: int, kind: str, facts: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in facts.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
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
