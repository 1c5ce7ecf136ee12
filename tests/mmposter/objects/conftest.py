"""An object store on loopback: moto's server, which speaks S3 over HTTP; s3fs and botocore are the real ones."""

from __future__ import annotations

import io

import pytest


class Bucket:
    """A bucket of a server that runs while the tests do."""

    def __init__(self, client, name: str) -> None:
        self._client, self.name = client, name

    def link(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> str:
        self._client.put_object(Bucket=self.name, Key=key, Body=data)
        return self.link(key)

    def get(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)

    def keys(self) -> list[str]:
        return [one["Key"] for one in self._client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def put_folder(self, folder, below: str) -> None:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self._client.upload_fileobj(
                io.BytesIO(file.read_bytes()), self.name, f"{below}/{file.relative_to(folder).as_posix()}"
            )


@pytest.fixture(scope="module")
def s3_server():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path, request):
    import boto3
    import fsspec

    from mmposter import mirrors

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of another server
    client = boto3.client("s3")
    name = f"films-{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=name)
    yield Bucket(client, name)
    mirrors._open.clear()
