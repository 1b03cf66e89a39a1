"""A small Hugging Face hub on this machine, for the tests of fetching: the real protocol over real sockets.

Large files are answered as the hub does: their address redirects to another host (here localhost instead of
127.0.0.1) and tells version, size and commit in headers; the other host gives the bytes, from any position on. What
goes wrong can be set: connections that are cut or stall, other bytes, another size, files that are not there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote

COMMIT = "1" * 40
BLOCK = 1 << 20


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorization: str | None


class Hub(ThreadingHTTPServer):
    """files: "owner/name/path" -> bytes. The rest is what goes wrong, by the same keys.

    cut: bytes of one answer after which its connection is closed, once. stingy: the same for every answer. stalled:
    bytes after which an answer waits until the server ends. sent: other bytes of the same length. told: another size.
    renamed: repository -> its new name. answer: instead of all that, "loop" (a redirect to itself) or "garbage" (no
    HTTP). requests: all that came.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cut: dict[str, int] = {}
        self.stalled: dict[str, int] = {}
        self.stingy: dict[str, int] = {}
        self.sent: dict[str, bytes] = {}
        self.told: dict[str, int] = {}
        self.renamed: dict[str, str] = {}
        self.answer = ""
        self.requests: list[Request] = []
        self.reached = threading.Event()  # an answer stalls now
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def fetched(self, name: str) -> list[str | None]:
        """The Range headers with which the bytes of a file were asked for, in order."""
        return [request.range for request in self.requests if request.path == f"/bytes/{name}"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_CONNECT(self) -> None:
        """As a proxy: it lets nobody through."""
        self.server.requests.append(Request("CONNECT", self.path, None, None))
        self.head(403, {})

    def log_message(self, *_) -> None:
        pass

    def answer(self) -> None:
        path = unquote(self.path)
        headers = self.headers.get("Range"), self.headers.get("Authorization")
        self.server.requests.append(Request(self.command, path, *headers))
        if self.server.answer == "loop":
            return self.head(302, {"Location": self.path})
        if self.server.answer == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            self.close_connection = True
            return None
        if path.startswith("/bytes/"):
            return self.give(path.removeprefix("/bytes/"))
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository, revision, file = match.groups() if match else (None, None, None)
        if repository in self.server.renamed:
            return self.head(307, {"Location": path.replace(repository, self.server.renamed[repository], 1)})
        if not any(name.startswith(f"{repository}/") for name in self.server.files):
            return self.head(401, {"X-Error-Code": "RepoNotFound"})
        name = f"{repository}/{file}"
        if revision not in ("main", COMMIT):
            return self.head(404, {"X-Error-Code": "RevisionNotFound"})
        if name not in self.server.files:
            return self.head(404, {"X-Error-Code": "EntryNotFound"})
        content = self.server.files[name]
        self.head(
            302,
            {
                "Location": f"http://localhost:{self.server.server_port}/bytes/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(self.server.told.get(name, len(content))),
                "ETag": '"of-the-redirect"',
            },
        )

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def give(self, name: str) -> None:
        """The bytes, whole or from a position on."""
        content = self.server.sent.get(name, self.server.files[name])
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        headers = {"Content-Length": str(len(content) - start), "Accept-Ranges": "bytes"}
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if match else 200, headers)
        server, size = self.server, len(content)
        limits = server.cut.pop(name, size), server.stalled.get(name, size), server.stingy.get(name, size)
        end = min(*limits, size)
        try:
            for position in range(start, end, BLOCK):
                self.wfile.write(content[position : min(position + BLOCK, end)])
            if end < len(content):
                if name in self.server.stalled:
                    self.server.reached.set()
                    self.server.ended.wait(60)
                self.close_connection = True
        except OSError:  # the client has gone
            self.close_connection = True
