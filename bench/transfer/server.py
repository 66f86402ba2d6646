"""nginx on loopback: the portal's answers as files, the stored objects, and four ways to get them."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template

import trustme
from corpus import File
from system import WORK, Missing, find_nginx

#: Seconds that the slow server waits before each answer.
LATENCY = 0.02

# Each connection is to have a worker of its own, mostly, and the kernel deals them out: where two of a
# client's share one, the other worker waits, and what is measured is nginx, at two thirds of the speed.
_CONFIG = Template("""
$user
$modules
daemon off;
worker_processes 16;
pid $prefix/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
    default_type application/octet-stream;
    log_format sent '$$status $$body_bytes_sent';
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 75;
    keepalive_requests 10000000;
    open_file_cache max=20000 inactive=10m;
    open_file_cache_valid 10m;
    output_buffers 2 256k;
    client_body_temp_path $prefix/body;
    proxy_temp_path $prefix/proxy;
    fastcgi_temp_path $prefix/fastcgi;
    scgi_temp_path $prefix/scgi;
    uwsgi_temp_path $prefix/uwsgi;
    ssl_certificate $prefix/server.pem;
    ssl_certificate_key $prefix/server.pem;
    ssl_session_cache shared:bench:1m;
$servers
}
""")

_SERVER = Template("""
    server {
        listen 127.0.0.1:$port$tls reuseport;
        access_log $log;
        location /directio/ { alias $listings/; default_type application/json; $listing_delay }
        location /data/ { alias $data/; $data_delay }
        location @listing {
            rewrite ^/directio/(.*)$$ /$$1 break; root $listings; default_type application/json;
        }
        location @data { rewrite ^/data/(.*)$$ /$$1 break; root $data; }
    }
""")


class Server:
    """A running nginx; ``origins`` has the URL of each of its ports by name."""

    def __init__(self, prefix: Path, ports: dict[str, int], ca: Path) -> None:
        self._prefix = prefix
        self.ca = ca
        self.origins = {
            name: f"{'https' if name == 'https' else 'http'}://127.0.0.1:{port}"
            for name, port in ports.items()
        }

    def publish(self, files: Iterable[File]) -> None:
        """Let the portal list these files, under every origin."""
        for file in files:
            file.dataset.prepare()
            for name, origin in self.origins.items():
                path = self._prefix / "listings" / name / str(file.file_id)
                if not path.exists():
                    path.write_bytes(file.listing(origin))

    def bytes_sent(self) -> int:
        """Bytes of bodies that the origin ``logged`` has sent so far."""
        log = self._prefix / "access.log"
        rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return sum(int(sent) for _, sent in rows)


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """nginx in the foreground as a child, until the block is left; ``slow`` only where it can."""
    nginx = find_nginx()
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nginx-", dir=WORK) as folder:
        prefix = Path(folder)
        ca = _certify(prefix)
        echo = _echo_module(nginx)
        ports = _free_ports(["http", "https", "logged", *(["slow"] if echo else [])])
        for name in ports:
            (prefix / "listings" / name).mkdir(parents=True)
        (prefix / "nginx.conf").write_text(_config(prefix, ports, echo))
        process = subprocess.Popen(
            [nginx, "-p", prefix, "-c", prefix / "nginx.conf"], stdin=subprocess.DEVNULL
        )
        try:
            _wait(process, ports.values())
            yield Server(prefix, ports, ca)
        finally:
            process.terminate()
            process.wait()


def _config(prefix: Path, ports: dict[str, int], echo: str | None) -> str:
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    return _CONFIG.substitute(
        prefix=prefix,
        user=user,
        modules=f"load_module {echo};" if echo else "",
        servers="".join(_server(prefix, name, port) for name, port in ports.items()),
    )


def _server(prefix: Path, name: str, port: int) -> str:
    delay = f"echo_sleep {LATENCY}; echo_exec @%s;" if name == "slow" else ""
    return _SERVER.substitute(
        port=port,
        tls=" ssl" if name == "https" else "",
        data=WORK / "data",
        log=f"{prefix}/access.log sent" if name == "logged" else "off",
        listings=prefix / "listings" / name,
        listing_delay=delay and delay % "listing",
        data_delay=delay and delay % "data",
    )


def _certify(prefix: Path) -> Path:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(prefix / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(prefix / "server.pem"))
    return prefix / "ca.pem"


def _echo_module(nginx: str) -> str | None:
    """The path of the module that can delay answers, where it is installed."""
    version = subprocess.run([nginx, "-V"], stderr=subprocess.PIPE, text=True).stderr
    for word in version.split():
        if word.startswith("--modules-path="):
            module = Path(word.partition("=")[2]) / "ngx_http_echo_module.so"
            return str(module) if module.exists() else None
    return None


def _free_ports(names: list[str]) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets)}


def _wait(process: subprocess.Popen[bytes], ports: Iterable[int]) -> None:
    """Until each port answers."""
    deadline = time.monotonic() + 10
    for port in ports:
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing("nginx did not start; its message is above")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
