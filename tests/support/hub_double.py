"""hub_double: a local Hugging Face hub, whose API can create, commit, list and download repositories."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse


class Hub:
    """Contents of the double.

    Attributes:
        repos: Files of each repository, by name.
        url: Address of the double.
        created: Requests of ``create_repo``.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, object]] = []
        self.url = ""

    def commit_of(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()


@contextmanager
def hub_double() -> Iterator[Hub]:
    """Serve a hub until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(
            self, content: object, *, status: int = 200, headers: dict[str, str] | None = None
        ) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            path = urlparse(self.path).path
            body = self.body()
            if path == "/api/repos/create":
                asked = json.loads(body)
                hub.created.append(asked)
                repo = (
                    f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                )
                hub.repos.setdefault(repo, {})
                self.answer({"url": f"{hub.url}/{repo}", "id": repo, "name": repo})
            elif path.endswith("/preupload/main"):
                files = json.loads(body)["files"]
                self.answer(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
                        ]
                    }
                )
            elif path.endswith("/commit/main"):
                repo = path.removeprefix("/api/models/").removesuffix("/commit/main")
                for line in body.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        value = entry["value"]
                        hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
                commit = hub.commit_of(repo)
                self.answer(
                    {"commitUrl": f"{hub.url}/{repo}/commit/{commit}", "commitOid": commit, "success": 1}
                )
            elif path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            else:
                self.answer({"error": f"unknown {path}"}, status=404)

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if path.startswith("/api/models/"):
                name = path.removeprefix("/api/models/")
                repo, _, rest = name.partition("/tree/") if "/tree/" in name else name.partition("/revision/")
                if repo not in hub.repos:
                    self.answer(
                        {"error": "Repository Not Found"},
                        status=404,
                        headers={"X-Error-Code": "RepoNotFound"},
                    )
                elif "/tree/" in name:
                    files = hub.repos[repo]
                    self.answer(
                        [
                            {"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                            for p, d in files.items()
                        ]
                    )
                else:
                    siblings = [{"rfilename": file} for file in hub.repos[repo]]
                    self.answer({"id": repo, "sha": hub.commit_of(repo), "siblings": siblings})
                return
            repo, found, rest = path.strip("/").partition("/resolve/")
            file = rest.partition("/")[2]
            if not found or file not in hub.repos.get(repo, {}):
                self.answer(
                    {"error": "Entry not found"}, status=404, headers={"X-Error-Code": "EntryNotFound"}
                )
                return
            data = hub.repos[repo][file]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            self.answer(data, headers={"ETag": etag, "X-Repo-Commit": hub.commit_of(repo)})

        def do_HEAD(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
