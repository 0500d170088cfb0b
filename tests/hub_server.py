"""A small server that speaks as Hugging Face does, and fails on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_SUFFIXES = (".safetensors", ".bin", ".h5")  # kept with Git LFS, served from another place
HELD_S = 100


@dataclass
class Hub:
    """What is served, how it fails, and what was asked for.

    repositories:   directory by name
    refusals:       status and error code of all answers about a repository, by name
    changed:        names of files that are served with other bytes than announced
    cut_at:         bytes after which the connection of a large file breaks, one for each answer
    held_at:        bytes after which a large file stops coming, without an end
    requests:       (path, Range header) of all that was asked for
    """

    url: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    cut_at: list[int] = field(default_factory=list)
    held_at: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def downloads(self) -> list[tuple[str, str | None]]:
        """(file name, Range header) of every download."""
        return [
            (path.rpartition("/")[2], bytes_) for path, bytes_ in self.requests if "/cdn/" in path
        ]


@dataclass
class Reply:
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    is_large: bool = False


def _refusal(status: int, code: str) -> Reply:
    return Reply(b"{}", {"X-Error-Code": code} if code else {}, status)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.hub.requests.append((path, self.headers["Range"]))
        self._send(self._reply(path))

    def _reply(self, path: str) -> Reply:
        hub = self.server.hub
        pattern = r"/(?:api/models/)?([^/]+/[^/]+)/(revision|resolve|cdn)/([^/]+)(?:/(.+))?"
        match = re.fullmatch(pattern, path)
        if match is None:
            return _refusal(404, "RepoNotFound")
        repository, kind, revision, name = match.groups()
        if repository in hub.refusals:
            return _refusal(*hub.refusals[repository])
        if repository not in hub.repositories:
            return _refusal(401, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return _refusal(404, "RevisionNotFound")
        directory = hub.repositories[repository]
        if kind == "revision":
            return Reply(_description(repository, directory))
        if not (directory / name).is_file():
            return _refusal(404, "EntryNotFound")
        content = (directory / name).read_bytes()
        if kind == "resolve" and name.endswith(LARGE_SUFFIXES):
            where = {
                "Location": f"{hub.url}/{repository}/cdn/{COMMIT}/{name}",
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": COMMIT,
            }
            return Reply(b"", where, status=302)
        if name in hub.changed:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return Reply(content, {"X-Repo-Commit": COMMIT}, is_large=kind == "cdn")

    def _send(self, reply: Reply) -> None:
        hub = self.server.hub
        content, status, headers = reply.content, reply.status, dict(reply.headers)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked and status == 200:
            begin, total = int(asked[1]), len(content)
            content, status = content[begin:], 206
            headers["Content-Range"] = f"bytes {begin}-{total - 1}/{total}"
        headers["Content-Length"] = str(len(content))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.is_large and hub.cut_at:
            self.wfile.write(content[: hub.cut_at.pop(0)])
            self.close_connection = True
            return
        if reply.is_large and hub.held_at is not None:
            self.wfile.write(content[: hub.held_at])
            self.wfile.flush()
            hub.release.wait(HELD_S)
            content = content[hub.held_at :]
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


class HubServer(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is part of the tests."""


def _description(repository: str, directory: Path) -> bytes:
    siblings = []
    for path in sorted(directory.iterdir()):
        content = path.read_bytes()
        header = b"blob %d\0" % len(content)
        file = {
            "rfilename": path.name,
            "size": len(content),
            "blobId": hashlib.sha1(header + content).hexdigest(),
        }
        if path.name.endswith(LARGE_SUFFIXES):
            sha256 = hashlib.sha256(content).hexdigest()
            file["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        siblings.append(file)
    model = {"_id": "1", "id": repository, "modelId": repository, "sha": COMMIT}
    return json.dumps({**model, "siblings": siblings, "tags": [], "private": False}).encode()


@contextmanager
def serve(**repositories: Path) -> Iterator[Hub]:
    """Serves directories as repositories, on a port of its own."""
    with HubServer(("127.0.0.1", 0), Handler) as server:
        hub = Hub(f"http://127.0.0.1:{server.server_port}", dict(repositories))
        server.hub = hub
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.release.set()
            server.shutdown()
            thread.join()
