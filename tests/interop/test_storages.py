"""Real object storages: S3 by moto and s3rver, Azure Blob by Azurite, nginx with secure_link, Swift.

Their signed URLs, their headers, their way of refusing what has expired.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import hmac
import importlib.util
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from ctera_direct_sync import ByteRange, DirectIO, Settings
from ctera_direct_sync.emulator import SyntheticSource
from ctera_direct_sync.exceptions import DownloadError
from tests.faults import ways
from tests.interop.storages import ACCESS_KEY_ID, Portal, StoredFile, cut, serving

KIB = 1024
ROOT = Path(__file__).parents[2]
_NODE = ROOT / ".cache"
_AZURITE = _NODE / "azurite" / "node_modules" / ".bin" / "azurite-blob"
_S3RVER = _NODE / "s3rver" / "node_modules" / ".bin" / "s3rver"
DATA = SyntheticSource(300 * KIB + 13, seed=1).read(0, 300 * KIB + 13)
BIG = SyntheticSource(20_000 * KIB, seed=2).read(0, 20_000 * KIB)

SHAPES: dict[str, dict[str, Any]] = {
    "CBC snappy": {"block_size": 64 * KIB},
    "GCM LZ4": {"cipher": "AES-GCM", "compression": "LZ4", "block_size": 64 * KIB},
    "plain gzip": {"cipher": None, "compression": "GZIP", "block_size": 64 * KIB},
    "plaintext": {"cipher": None, "compression": "NONE", "block_size": 64 * KIB},
    "native": {"native": True},
}


class Storage:
    """One storage: how to put objects into it, and the portal that lists them."""

    def __init__(
        self, put: Callable[[str, bytes], None], sign: Callable[[str, float], str]
    ) -> None:
        self._put = put
        self.life = 3600.0
        self.portal = Portal(lambda name: sign(name, self.life))
        self.url = ""

    def add(self, data: bytes, **options: Any) -> int:
        """Store a file; its ID."""
        file_id = len(self.portal.files) + 1
        file: StoredFile = cut(data, str(file_id), **options)
        for item in file.objects:
            self._put(item.name, item.body)
        self.portal.files[file_id] = file
        return file_id

    def client(self, **more: Any) -> DirectIO:
        """A client of the portal."""
        settings = Settings(retries=2, backoff=0.001, checksums="all")
        settings.storage.timeout = (5, 20)
        return DirectIO(self.url, ACCESS_KEY_ID, self.portal.secret_access_key, settings=settings,
                        **more)  # fmt: skip


def free_port() -> int:
    """A port that was free a moment ago, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[Any]) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)


def ended(process: subprocess.Popen[Any]) -> None:
    """End a server that was started here."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- S3 --------------------------------------------------------------------------------------------------


@contextmanager
def _bucket(command: list[str], port: int, key: str, **put_options: Any) -> Iterator[Storage]:
    """An S3 server with one bucket, and URLs signed by boto3 (Signature Version 4)."""
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await_port(port, process)
        client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
            aws_access_key_id=key, aws_secret_access_key=key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"},
                          request_checksum_calculation="when_required"),
        )  # fmt: skip
        client.create_bucket(Bucket="bucket")

        def put(name: str, body: bytes) -> None:
            client.put_object(Bucket="bucket", Key=name, Body=body, **put_options)

        def sign(name: str, life: float) -> str:
            return str(client.generate_presigned_url(
                "get_object", {"Bucket": "bucket", "Key": name}, ExpiresIn=int(life)
            ))  # fmt: skip

        storage = Storage(put, sign)
        with serving(storage.portal) as storage.url:
            yield storage
        client.close()
    finally:
        ended(process)


@pytest.fixture(scope="module")
def moto() -> Iterator[Storage]:
    """moto's S3 server, which declares checksums but refuses no URL."""
    pytest.importorskip("moto.server")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _bucket(command, port, "test", ChecksumAlgorithm="CRC32C") as storage:
        yield storage


@pytest.fixture(scope="module")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """s3rver, which heeds the expiry of its URLs."""
    if not _S3RVER.exists():
        pytest.skip("s3rver is not installed: tools/storage-servers.sh")
    folder, port = tmp_path_factory.mktemp("s3rver"), free_port()
    command = [str(_S3RVER), "-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "-s"]
    with _bucket(command, port, "S3RVER") as storage:
        yield storage


# --- nginx -----------------------------------------------------------------------------------------------

_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location / {{
            secure_link $arg_md5,$arg_expires;
            secure_link_md5 "$secure_link_expires$uri {secret}";
            if ($secure_link = "") {{ return 403; }}
            if ($secure_link = "0") {{ return 403; }}
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """nginx that serves a folder to those with a secure_link."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    folder = tmp_path_factory.mktemp("nginx")
    port, secret = free_port(), "nginx-secret"
    (folder / "www").mkdir()
    # Root's nginx would read as another user, who may not look into this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        _NGINX.format(user=user, folder=folder, port=port, secret=secret)
    )
    process = subprocess.Popen(
        [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def put(name: str, body: bytes) -> None:
        path = folder / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def sign(name: str, life: float) -> str:
        expires = int(time.time() + life)
        digest = hashlib.md5(f"{expires}/{name} {secret}".encode()).digest()
        token = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return f"http://127.0.0.1:{port}/{name}?md5={token}&expires={expires}"

    try:
        await_port(port, process)
        storage = Storage(put, sign)
        with serving(storage.portal) as storage.url:
            yield storage
    finally:
        ended(process)


# --- Azure -----------------------------------------------------------------------------------------------

_ACCOUNT = "devstoreaccount1"
#: Azurite's own, documented account key.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Azurite's Blob service, with service SAS of the Azure SDK."""
    blob = pytest.importorskip("azure.storage.blob")
    if not _AZURITE.exists():
        pytest.skip("Azurite is not installed: tools/storage-servers.sh")
    folder, port = tmp_path_factory.mktemp("azurite"), free_port()
    process = subprocess.Popen(
        [str(_AZURITE), "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location",
         str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    try:
        await_port(port, process)
        logging.getLogger("azure").setLevel(logging.WARNING)
        with blob.BlobServiceClient(base, credential=_KEY) as service:
            container = service.create_container("container")

            def put(name: str, body: bytes) -> None:
                md5 = bytearray(hashlib.md5(body).digest())
                container.upload_blob(
                    name, body, content_settings=blob.ContentSettings(content_md5=md5)
                )

            def sign(name: str, life: float) -> str:
                end = datetime.datetime.now(datetime.timezone.utc)
                token = blob.generate_blob_sas(
                    _ACCOUNT, "container", name, account_key=_KEY, permission="r",
                    expiry=end + datetime.timedelta(seconds=life),
                )  # fmt: skip
                return f"{base}/container/{name}?{token}"

            storage = Storage(put, sign)
            with serving(storage.portal) as storage.url:
                yield storage
    finally:
        ended(process)


# --- Swift -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """OpenStack Swift behind TempURLs, by which objects are put as well; their ETag is their MD5."""
    if importlib.util.find_spec("swift") is None:
        pytest.skip("OpenStack Swift is not installed: pip install swift")
    folder, key = tmp_path_factory.mktemp("swift"), secrets.token_hex()
    try:
        os.setxattr(folder, "user.swift.metadata", b"none")
    except OSError as error:
        pytest.skip(f"Swift keeps metadata in extended attributes, which {folder} has not: {error}")
    command = [sys.executable, "-m", "tests.interop.swift_server", str(folder), key]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "Swift ended"

            def signed(method: str, name: str, life: float) -> str:
                path, expires = f"/v1/AUTH_test/container/{name}", int(time.time() + life)
                text = f"{method}\n{expires}\n{path}".encode()
                signature = hmac.new(key.encode(), text, "sha256").hexdigest()
                return (
                    f"http://127.0.0.1:{port}{path}"
                    f"?temp_url_sig={signature}&temp_url_expires={expires}"
                )

            def put(name: str, body: bytes) -> None:
                headers = {"ETag": hashlib.md5(body).hexdigest()}
                url = signed("PUT", name, 60)
                requests.put(url, data=body, headers=headers, timeout=60).raise_for_status()

            storage = Storage(put, functools.partial(signed, "GET"))
            with serving(storage.portal) as storage.url:
                yield storage
        finally:
            ended(process)


# --- the same of all -------------------------------------------------------------------------------------


@pytest.fixture(params=["moto", "s3rver", "nginx", "azure", "swift"], scope="module")
def storage(request: pytest.FixtureRequest) -> Storage:
    """Each of the storages."""
    chosen: Storage = request.getfixturevalue(request.param)
    return chosen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", list(SHAPES.values()), ids=list(SHAPES))
def test_all_ways_in(storage: Storage, options: dict[str, Any]) -> None:
    """Each way in gives the file, whole and in part, from a storage that is not ours."""
    file_id = storage.add(DATA, **options)
    wanted = ByteRange(1000, 200_000)
    with storage.client() as client:
        for name, way in ways.ALL.items():
            assert ways.joined(way(client, file_id, None)) == DATA, name
        for name, way in ways.EXACT.items():
            assert ways.joined(way(client, file_id, wanted)) == DATA[1000:200_001], name


@pytest.mark.timeout(180)
def test_parts_of_one_object(storage: Storage, tmp_path: Path) -> None:
    """A native object of 20 MB comes in ranges that the storage honours, under its own ETag."""
    file_id = storage.add(BIG, native=True)
    with storage.client() as client:
        done = client.download(file_id, tmp_path / "target", max_workers=3)
        assert (tmp_path / "target").read_bytes() == BIG
        assert done.size == len(BIG)
        with client.open(file_id) as file:
            file.seek(-1000, os.SEEK_END)
            assert file.read() == BIG[-1000:]


@pytest.mark.timeout(180)
def test_expired_urls_are_listed_again(storage: Storage) -> None:
    """URLs that the storage calls expired are renewed: one listing, and the file comes."""
    file_id = storage.add(DATA, block_size=64 * KIB)
    with storage.client() as client:
        storage.life = 1.0
        try:
            metadata = client.metadata(file_id)
        finally:
            storage.life = 3600.0
        url = str(metadata.chunks[0].url)
        deadline = time.monotonic() + 5
        while requests.get(url, timeout=10).status_code < 400:
            if time.monotonic() > deadline:
                pytest.skip("this storage does not heed the expiry of its URLs")
            time.sleep(0.2)
        before = storage.portal.listings[file_id]
        futures = client.executor(metadata)()
        assert b"".join(future.result().data for future in futures) == DATA
        assert storage.portal.listings[file_id] == before + 1


@pytest.mark.timeout(180)
def test_urls_with_a_wrong_signature(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the storage refuses for good ends in an error, after as many listings as are allowed."""
    file_id = storage.add(DATA, block_size=512 * KIB)
    sign = storage.portal.sign
    url = sign(storage.portal.files[file_id].objects[0].name)
    for name in ("X-Amz-Signature=", "md5=", "sig="):
        head, found, tail = url.partition(name)
        if found:
            forged = f"{head}{name}A{tail[1:] if tail[0] != 'A' else 'B' + tail[2:]}"
    if requests.get(forged, timeout=10).status_code == 200:
        pytest.skip("this storage does not verify signatures")
    monkeypatch.setattr(storage.portal, "sign", lambda name: forged)
    with storage.client() as client:
        error = client.blocks(file_id)[0].exception(60)
    assert isinstance(error, DownloadError)
    assert "refuses" in str(error)
    assert storage.portal.listings[file_id] <= 5


@pytest.mark.timeout(180)
def test_declared_checksums_are_verified(storage: Storage) -> None:
    """What the storage says of an object without being asked is verified, and named in an event."""
    file_id = storage.add(DATA, block_size=64 * KIB)
    verified: set[str] = set()
    with storage.client(
        on_event=lambda event: verified.add(event.detail) if event.name == "verified" else None
    ) as client:
        assert ways.joined(ways.blocks(client, file_id)) == DATA
        url = str(client.metadata(file_id).chunks[0].url)
    headers = {name.lower(): text for name, text in requests.get(url, timeout=10).headers.items()}
    declared = {name.rpartition("-")[2] for name in headers if name.startswith("x-amz-checksum-c")}
    declared |= {"md5"} if "content-md5" in headers else set()
    declared |= {"etag"} if re.fullmatch('"?[0-9a-f]{32}"?', headers["etag"]) else set()
    assert declared - {"type"} <= verified


@pytest.mark.timeout(180)
def test_object_that_is_gone(storage: Storage) -> None:
    """An object that the storage does not have is told at once, as that."""
    file_id = storage.add(DATA, block_size=512 * KIB)
    file = storage.portal.files[file_id]
    missing = file.objects[0]._replace(name="blocks/none")
    storage.portal.files[file_id] = file._replace(objects=[missing])
    with storage.client() as client:
        error = client.blocks(file_id)[0].exception(60)
    assert isinstance(error, DownloadError)
    assert "no such object" in str(error)
