"""A Hub on loopback: real HTTP, the Hub's paths, redirects, ranges, ETags and error headers."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

#: Tokens the Hub knows; only the member has been granted the gated models.
MEMBER, STRANGER = "hf_member", "hf_stranger"


@dataclass
class Repo:
    files: dict[str, bytes]
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def __post_init__(self):
        digest = hashlib.sha1(b"".join(self.files.values())).hexdigest()
        self.branches.setdefault("main", digest)


class Hub:
    """The server, its models, and what was asked of it."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.log: list[tuple[str, str, dict[str, str]]] = []
        #: How many slow answers are awaited now, and how many at most were at one time.
        self.waiting = self.most_waiting = 0
        self.counting = threading.Lock()
        #: Faults by a piece of the path: a status to answer, or slow, cut, drip, whole, hang.
        self.faults: dict[str, list] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                """Stay quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                """Say nothing of clients that hung up: some tests are about that."""

        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def add(self, repo_id, files, **kind):
        self.repos[repo_id] = Repo(dict(files), **kind)
        return self.repos[repo_id]

    def paths(self):
        return [path for _, path, _ in self.log]

    # -- answering ------------------------------------------------------------------------------

    def answer(self, request):
        path = unquote(request.path)
        sent = {name.lower(): value for name, value in request.headers.items()}
        self.log.append((request.command, path, sent))
        if self._faulty(request, path):
            return
        if found := re.fullmatch(r"/cdn/(.+)/([0-9a-f]{40})/([^/]+)", path):
            # The signed address of a large file: no token wanted, ranges served.
            repo = self.repos[found[1]]
            self._send(request, repo.files[found[3]], {"ETag": _etag(repo.files[found[3]])})
        elif found := re.fullmatch(r"/api/resolve-cache/models/(.+)/([0-9a-f]{40})/([^/]+)", path):
            repo = self.repos[found[1]]
            self._send(
                request,
                repo.files[found[3]],
                {"ETag": _etag(repo.files[found[3]]), "X-Repo-Commit": found[2]},
            )
        elif found := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/(.+)/([^/]+)", path):
            self._resolve(request, *found.groups())
        else:
            self._refuse(request, 404)

    def _resolve(self, request, repo_id, revision, name):
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", MEMBER, STRANGER):
            self._refuse(request, 401, None, "Invalid credentials in Authorization header")
            return
        repo = self.repos.get(repo_id)
        if repo is None or (repo.private and token != MEMBER):
            self._refuse(request, 404 if token else 401, "RepoNotFound", "Repository not found")
            return
        if repo.gated and token != MEMBER:
            self._refuse(request, 403 if token else 401, "GatedRepo", "Access is restricted")
            return
        commit = revision if revision in repo.branches.values() else repo.branches.get(revision)
        if commit is None:
            self._refuse(request, 404, "RevisionNotFound", "Invalid rev id")
            return
        if name not in repo.files:
            self._refuse(
                request, 404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit}
            )
            return
        content = repo.files[name]
        sent = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(content))}
        if name.endswith(".safetensors"):
            # Large files live on another host; a token must not follow there.
            place = f"http://localhost:{self.port}/cdn/{repo_id}/{commit}/{name}"
            sent |= {"X-Linked-Etag": _etag(content), "Location": place}
            self._send(request, b"", sent, status=302)
        else:
            place = f"/api/resolve-cache/models/{repo_id}/{commit}/{name}"
            self._send(request, b"", {**sent, "Location": place}, status=307)

    def _send(self, request, content, headers, status=200):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if found and status == 200:
            first, last = int(found[1]), int(found[2])
            if first >= len(content):
                self._refuse(request, 416)
                return
            total = len(content)
            content = content[first : last + 1]
            status = 206
            headers = {
                **headers,
                "Content-Range": f"bytes {first}-{first + len(content) - 1}/{total}",
            }
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content)

    def _refuse(self, request, status, code=None, message=None, headers=()):
        sent = dict(headers)
        if code:
            sent["X-Error-Code"] = code
        if message:
            sent["X-Error-Message"] = message
        self._send(request, b"{}", sent, status=status)

    # -- faults ---------------------------------------------------------------------------------

    def _faulty(self, request, path):
        """Play the next fault planned for this path; whether that was the whole answer."""
        for piece, planned in self.faults.items():
            if piece in path and planned:
                fault = planned.pop(0)
                return getattr(self, f"_{fault[0]}")(request, *fault[1:])
        return False

    def _status(self, request, status, headers=()):
        self._send(request, b"trouble", dict(headers), status=status)
        return True

    def _slow(self, request, seconds):
        with self.counting:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        time.sleep(seconds)
        with self.counting:
            self.waiting -= 1
        return False

    def _hang(self, request, seconds):
        time.sleep(seconds)
        request.close_connection = True
        return True

    def _cut(self, request):
        """Promise a thousand bytes, send ten, and hang up."""
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x" * 10)
        request.wfile.flush()
        request.close_connection = True
        request.connection.close()
        return True

    def _drip(self, request, seconds):
        """Send a few bytes at a time, for so long."""
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        until = time.monotonic() + seconds
        with suppress(OSError):  # the client gives up, as it should
            while time.monotonic() < until:
                request.wfile.write(b" " * 64)
                request.wfile.flush()
                time.sleep(0.05)
        request.close_connection = True
        return True

    def _whole(self, request, content):
        """Ignore the range and send everything, as some mirrors do."""
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with suppress(OSError):  # the client may read what it wants and hang up
            request.wfile.write(content)
        return True

    def _loop(self, request):
        self._send(request, b"", {"Location": request.path}, status=302)
        return True


def _etag(content):
    return f'"{hashlib.sha256(content).hexdigest()}"'
