"""What the benchmark needs from the machine: Debian packages, an environment, the C program."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".cache" / "bench"

_FLAGS = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-pthread"]
_LIBRARIES = ["libcurl", "libcrypto", "libdeflate"]


class Missing(Exception):
    """Something that the benchmark cannot do without; the text says how to get it."""


def say(text: str) -> None:
    """Tell the user what goes on, on stderr."""
    print(text, file=sys.stderr, flush=True)


def ensure_packages() -> None:
    """Install the Debian packages of apt-packages.txt that are missing.

    :raises Missing: they cannot be installed; what the user can do was printed.
    """
    install = ROOT / "tools" / "system-packages.sh"
    if subprocess.run([install, HERE / "apt-packages.txt"], stdout=sys.stderr).returncode:
        raise Missing("packages are missing (see above)")


def ensure_peer() -> Path:
    """Return the Python of an environment that holds requirements.txt, made when it is not there."""
    if sys.version_info < (3, 10):
        raise Missing("cterasdk 2.20.50 needs Python 3.10 or newer: run the benchmark with one")
    requirements = HERE / "requirements.txt"
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = WORK / f"venv-{stamp}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say("making an environment for cterasdk")
        venv.create(folder, with_pip=True, clear=True)
        _install(python, requirements)
        (folder / "complete").touch()
    return python


def ensure_plots(python: Path) -> None:
    """Install what plots.py needs into that environment, unless it is there."""
    if subprocess.run([python, "-c", "import matplotlib"], stderr=subprocess.DEVNULL).returncode:
        _install(python, ROOT / "bench" / "requirements-plots.txt")


def _install(python: Path, requirements: Path) -> None:
    options = ["-qq", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, "-r", requirements], check=True)


def find_before(checkout: Path) -> Path:
    """Return the Python of another checkout of this project.

    Args:
        checkout: The folder of the checkout, whose `.venv` has it installed in place.

    Raises:
        Missing: There is no such environment, or it would run another checkout's code.
    """
    python = checkout.resolve() / ".venv" / "bin" / "python"
    if not python.exists():
        raise Missing(
            f"--before {checkout}: it has no .venv/bin/python; make one as README.md says"
        )
    program = "import ctera_direct_sync as m; print(m.__file__); print(m.codec.backend)"
    done = subprocess.run(
        [python, "-c", program], cwd=HERE / "clients", stdout=subprocess.PIPE, text=True
    )
    module, backend = [*done.stdout.split(), "", ""][:2]
    if not Path(module).is_relative_to(checkout.resolve()):
        raise Missing(f"--before {checkout}: its Python imports {module or 'nothing'}; install it")
    if backend != "native":
        raise Missing(f"--before {checkout}: its native codec is not built; install it again")
    return python


def ensure_floor() -> Path:
    """Return the C program, compiled anew when its source changed."""
    source = HERE / "floor.c"
    digest = hashlib.sha256(source.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:12]
    program = WORK / f"floor-{digest}"
    if not program.exists():
        compiler = os.environ.get("CC", "gcc")
        if shutil.which(compiler) is None or shutil.which("pkg-config") is None:
            raise Missing("a C compiler and pkg-config are needed for the C program")
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", *_LIBRARIES],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.split()
        WORK.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [compiler, *_FLAGS, source, "-o", unfinished, *flags, "-lsnappy"], check=True
        )
        unfinished.replace(program)
    return program


def find_nginx() -> str:
    """Return the path of nginx."""
    path = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing("nginx is needed: apt-get install nginx-light")
    return path
