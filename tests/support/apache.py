"""Apache with mod_wsgi on loopback, with a configuration and a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MODULES = Path("/usr/lib/apache2/modules")
#: Seconds that Apache may take to start, and to end.
_PATIENCE_S = 30.0

_CONFIGURATION = """
ServerName localhost
DefaultRuntimeDir {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
ErrorLog {folder}/errors
LogLevel warn
KeepAliveTimeout 1
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule deflate_module {modules}/mod_deflate.so
LoadModule wsgi_module {modules}/mod_wsgi.so
User www-data
Group www-data
StartServers 1
WSGISocketPrefix {folder}/socket
WSGIDaemonProcess sites processes=1 threads=4 python-path={path}
WSGIProcessGroup sites
SetOutputFilter DEFLATE
<Directory />
    Require all granted
</Directory>
"""

_SITE = "WSGIScriptAlias /{name} {folder}/{name}.py application-group={name}\n"


class Apache(NamedTuple):
    """A running Apache: its port, and the folder with its log."""

    port: int
    folder: Path

    def log(self) -> str:
        """What Apache and the sites have logged."""
        return (self.folder / "errors").read_text("utf-8", "replace")


def reason_to_skip() -> str | None:
    """Return why Apache cannot serve this environment's packages, or None."""
    if _program() is None or not (MODULES / "mod_wsgi.so").exists():
        return "Apache is missing: apt-get install apache2-bin libapache2-mod-wsgi-py3"
    embedded = os.readlink(MODULES / "mod_wsgi.so").rpartition("-")[2]
    if embedded != "{}.{}".format(*sys.version_info):
        return f"mod_wsgi embeds Python {embedded}, whose packages are not those of this Python"
    closed = [path for path in _import_path() if not _is_open(Path(path))]
    if os.geteuid() == 0 and closed:
        return f"Apache's user cannot read {closed[0]}"
    return None


def _program() -> str | None:
    return shutil.which("apache2", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _import_path() -> list[str]:
    return [sysconfig.get_path("purelib"), str(Path(__file__).parents[2])]


def _is_open(path: Path) -> bool:
    """Whether every user can enter a folder."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


@contextmanager
def apache(sites: dict[str, str]) -> Iterator[Apache]:
    """Run Apache with ``sites``, by name: the source of a WSGI script, at /NAME.

    All run in one process, each in an interpreter of its own.
    """
    # Not pytest's folder: Apache's own user cannot enter that.
    folder = Path(tempfile.mkdtemp(prefix="ctera-apache-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with _started(folder, sites) as port:
            yield Apache(port, folder)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(folder: Path, sites: dict[str, str]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    text = _CONFIGURATION.format(
        folder=folder, port=port, modules=MODULES, path=":".join(_import_path())
    )
    for name, source in sites.items():
        (folder / f"{name}.py").write_text(source)
        text += _SITE.format(folder=folder, name=name)
    (folder / "configuration").write_text(text)
    command = [
        str(_program()),
        "-d",
        str(folder),
        "-f",
        str(folder / "configuration"),
        "-DFOREGROUND",
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait_for(process, port, folder)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    errors = folder / "errors"
    assert process.stderr is not None
    process.terminate()
    said = process.stderr.read().decode() + (errors.read_text() if errors.exists() else "")
    raise AssertionError(f"Apache did not start: {said}")
