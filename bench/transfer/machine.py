"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from system import find_nginx

import ctera_direct_sync


def describe(
    peer_python: Path, floor_program: Path, checkout_before: Path | None = None
) -> dict[str, str]:
    """Processor, system and versions, as rows of a table."""
    nginx = subprocess.run([find_nginx(), "-v"], stderr=subprocess.PIPE, text=True).stderr
    before = {"Before": _commit(checkout_before)} if checkout_before else {}
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Load before the run": f"{os.getloadavg()[0]:.1f}",
        "System": f"{_system()}, {_libc()}",
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "ctera_direct_sync": f"{ctera_direct_sync.__version__}, {ctera_direct_sync.codec.backend} "
        f"codec, {_versions('requests', 'urllib3')}",
        **before,
        "cterasdk": _peer_versions(peer_python),
        "C program": subprocess.run(
            [floor_program, "--version"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip(),
        "Server": f"{nginx.strip().rpartition(' ')[2]}, on the same machine, loopback",
    }


def _commit(checkout: Path) -> str:
    """The commit of a checkout, as `ours / before` compares with it."""
    return subprocess.run(
        ["git", "-C", checkout, "log", "-1", "--format=%h of %cs"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _libc() -> str:
    return " ".join(platform.libc_ver()) or sys.platform


def _versions(*names: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


def _peer_versions(python: Path) -> str:
    program = (
        "from importlib.metadata import version\n"
        'print(version("cterasdk"), *(f"{name} {version(name)}" for name in '
        '("aiohttp", "python-snappy", "cryptography")), sep=", ")'
    )
    return subprocess.run(
        [python, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
