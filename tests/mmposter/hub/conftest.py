"""A hub in this process: as much of the Hugging Face hub's interface as a download and a push take, on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mmposter.training.train import train

LARGE = (".safetensors", ".parquet", ".bin", ".pt")  # kept by their SHA-256, as git-lfs does


@dataclass
class Repository:
    """Commits by number, and which one a branch or tag is at."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        number = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[number] = dict(files)
        self.branches[branch] = number
        return number

    def at(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


@dataclass
class Hub:
    """The whole hub: repositories by name, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # method and path of each request
    large: dict[str, bytes] = field(default_factory=dict)
    token: str = "hf_of_the_test"
    stated: dict[str, int] = field(default_factory=dict)  # sizes that it states in place of the true ones
    more: list[dict[str, Any]] = field(default_factory=list)  # what it adds to each list of files
    broken: dict[str, bytes] = field(default_factory=dict)  # contents that it sends in place of the stated ones
    down: bool = False
    url: str = ""

    def of(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        self.body = self._read()
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.down:
            return self._json({"error": "down"}, 503)
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if parts[0] == "large":
            self.hub.large[parts[1]] = self.body
            return self._json({})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch()
        if parts[:2] == ["api", "models"]:
            return self._api("/".join(parts[2:4]), parts[4:])
        return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size + 2)[:-2])
        self.rfile.readline()
        return b"".join(parts)

    def _known(self, name: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if found is None or (found.private and not allowed):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def _api(self, name: str, rest: list[str]) -> None:
        writes = rest[:1] in (["preupload"], ["commit"], ["branch"])
        if writes and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._json({"error": "Invalid credentials"}, 401)
        repository = self._known(name)
        if repository is None:
            return None
        revision = "/".join(rest[1:]) or "main"
        if rest[:1] == ["branch"]:
            if revision in repository.branches:
                return self._json({"error": "there already"}, 409)
            repository.branches[revision] = repository.branches["main"]
            return self._json({})
        commit = repository.at(revision)
        if commit is None:
            return self._json({"error": "Invalid rev"}, 404, {"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if rest[:1] == ["paths-info"]:
            asked = parse_qs(self.body.decode()).get("paths", [])
            found = [self._file(path, content) for path, content in files.items() if path in asked]
            return self._json([*found, *self.hub.more])
        if rest[:1] == ["preupload"]:
            return self._json(
                {
                    "files": [
                        {
                            "path": one["path"],
                            "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                            "shouldIgnore": False,
                        }
                        for one in json.loads(self.body)["files"]
                    ]
                }
            )
        if rest[:1] == ["commit"]:
            return self._commit(name, repository, revision, files)
        return self._json({"id": name, "modelId": name, "sha": commit, "private": repository.private})

    def _file(self, path: str, content: bytes) -> dict[str, Any]:
        size = self.hub.stated.get(path, len(content))
        blob = hashlib.sha1(content).hexdigest()
        facts: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": blob}
        if path.endswith(LARGE):
            facts["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
        return facts

    def _create(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._json({"error": "Invalid credentials"}, 401)
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self._json({"error": "there already", "url": f"{self.hub.url}/{name}"}, 409)
        self.hub.of(name).private = asked.get("visibility") == "private" or asked.get("private") is True
        self.hub.of(name).commit({".gitattributes": b""})
        return self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _batch(self) -> None:
        objects = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}"}},
            }
            for one in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: Repository, branch: str, files: dict[str, bytes]) -> None:
        now = dict(files)
        for line in self.body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "header":
                repository.summaries.append(value["summary"])
            elif step["key"] == "file":
                now[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                now[value["path"]] = self.hub.large[value["oid"]]
            elif step["key"] == "deletedFile":
                del now[value["path"]]
        number = repository.commit(now, branch)
        self._json({"success": True, "commitOid": number, "commitUrl": f"{self.hub.url}/{name}/commit/{number}"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._known(name)
        if repository is None:
            return None
        commit = repository.at(revision)
        files = {} if commit is None else repository.commits[commit]
        if commit is None or path not in files:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = files[path]
        tag = (hashlib.sha256 if path.endswith(LARGE) else hashlib.sha1)(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": commit}
        return self._send(self.hub.broken.get(path, content), 200, headers)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


# What a run of the hub has. In front of it stands a small network that tells pictures apart.
NETWORK = ("cnn.backbone=cnn3", "cnn.size=[64,48]", "train.epochs=1")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """The stand-in, an empty cache, a token, and a library that thinks it is the real one."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HF_HUB_DISABLE_XET", True
    )  # the other way of an upload, which needs no other server
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", Hub.token)
    with serving(Hub()) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        # What the library makes of that variable where it is set before it is loaded.
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}), raising=False)
        yield found


@pytest.fixture(scope="session")
def _trained(tmp_path_factory, make_world) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv)
        config = world.config(*NETWORK, branches="cnn,yolo")
        train(config, world.dataset, folder / "genres", device="cpu", offline=True, quiet=True)
    return SimpleNamespace(world=world, folder=folder / "genres", weights=folder / "weights")


@pytest.fixture
def trained(_trained, tmp_path, monkeypatch) -> SimpleNamespace:
    """A run of cnn and yolo (`run`, a copy), its data (`world`), and the weights folder that stands behind it."""
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(_trained.weights))
    run = Path(shutil.copytree(_trained.folder, tmp_path / "mine" / "genres"))
    return SimpleNamespace(run=run, world=_trained.world)


@pytest.fixture
def on_hub(hub, trained) -> SimpleNamespace:
    """The run as films/genres: the hub, its repository and the commit."""
    names = ("model.json", "best.safetensors", "tower.safetensors", "seen.parquet", "README.md")
    commit = hub.of("films/genres").commit({name: (trained.run / name).read_bytes() for name in names})
    return SimpleNamespace(hub=hub, repository=hub.of("films/genres"), commit=commit, **vars(trained))
