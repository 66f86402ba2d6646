"""``ctera-direct emulator FOLDER``: a portal and its object storage on loopback."""

from __future__ import annotations

import argparse
import queue
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .._base import waits

if TYPE_CHECKING:
    from ..emulator import Emulator

__all__ = ["CIPHERS", "COMPRESSIONS", "add_arguments", "describe", "run"]

Write = Callable[[bytes], None]

#: What the emulator offers, written down here so that no other command has to import the emulator.
CIPHERS = ("AES-CBC", "AES-GCM", "NONE")
COMPRESSIONS = ("SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE")

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("folder", metavar="FOLDER", help="serve every file below this folder")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on, such as ::1. Off loopback, other machines that have the keys "
        "can read the folder (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="port to listen on (default: a free one)"
    )
    parser.add_argument(
        "--cipher",
        choices=CIPHERS,
        type=str.upper,
        default="AES-CBC",
        help="how blocks are encrypted (default: %(default)s)",
    )
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        type=str.upper,
        default="SNAPPY",
        help="how blocks are compressed (default: %(default)s)",
    )
    parser.add_argument(
        "--block-size",
        type=_size,
        default=_size("4M"),
        metavar="BYTES",
        help="plaintext bytes of a block; K, M and G are understood (default: 4M)",
    )
    parser.add_argument(
        "--expire",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="how long signed URLs are valid (default: 3600)",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="use HTTPS, with a certificate of the emulator's own authority",
    )


def run(namespace: argparse.Namespace, write: Write | None = None) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP comes.

    Args:
        namespace: The command's options.
        write: Takes text for standard output. An exception that it raises ends the command.

    Returns:
        The exit code.
    """
    # Imported late: no other command needs it.
    from ..emulator import Emulator

    cipher = None if namespace.cipher == "NONE" else namespace.cipher
    try:
        emulator = Emulator(
            namespace.folder,
            host=namespace.host,
            port=namespace.port,
            cipher=cipher,
            compression=namespace.compression,
            block_size=namespace.block_size,
            expire=namespace.expire,
            tls=namespace.tls,
        )
    except (OSError, ValueError) as error:
        return _refuse(str(error))
    with _signalled() as done, ExitStack() as stack:
        try:
            stack.enter_context(emulator)
        except OSError as error:
            return _refuse(
                f"cannot serve {namespace.folder} on {namespace.host} port "
                f"{namespace.port}: {error.strerror or error}"
            )
        except RuntimeError as error:
            return _refuse(str(error))
        text = describe(emulator, Path(namespace.folder)) + "\n"
        (write or _print)(text.encode(_encoding(), "backslashreplace"))
        waits.get(done)
    return 0


def _print(text: bytes) -> None:
    print(text.decode(_encoding()), end="", flush=True)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "ascii"


def describe(emulator: Emulator, folder: Path) -> str:
    """Return what a user needs for a running emulator: lines for a shell, and a table of its files."""
    lines = [
        f"CTERA Direct IO emulator: {folder} at {emulator.url}",
        "",
        f"export CTERA_DIRECT_URL={emulator.url}",
        f"export CTERA_DIRECT_ACCESS_KEY_ID={emulator.access_key_id}",
        f"export CTERA_DIRECT_SECRET_ACCESS_KEY={emulator.secret_access_key}",
        f"export CTERA_DIRECT_USERNAME={emulator.username}",
        f"export CTERA_DIRECT_PASSWORD={emulator.password}",
    ]
    if emulator.ca_bundle is not None:
        lines.append(f"export REQUESTS_CA_BUNDLE={emulator.ca_bundle}")
    lines += ["", *_table(emulator), "", "By name the files are in /My Files.", "Ctrl-C stops it."]
    return "\n".join(lines)


def _table(emulator: Emulator) -> Iterator[str]:
    rows = sorted(emulator.files.values(), key=lambda row: row.name)
    if not rows:
        yield "The folder holds no files."
        return
    heads = ("FILE ID", "SIZE", "BLOCKS", "CIPHER", "COMPRESSION", "NAME")
    cells = [
        heads,
        *(
            (
                str(row.file_id),
                str(row.size),
                str(row.blocks),
                row.cipher or "NONE",
                row.compression,
                _printable(row.name),
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads) - 1)]
    for line in cells:
        padded = [
            cell.rjust(width) if column < 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        yield "  ".join([*padded, line[-1]])


def _printable(name: str) -> str:
    """Return a name that any terminal can show. File names may be any bytes."""
    return name.encode(_encoding(), "backslashreplace").decode(_encoding())


@contextmanager
def _signalled() -> Iterator[queue.SimpleQueue[int]]:
    """Yield a queue of received signals that end the command. Restore their handlers afterwards."""
    # A signal handler may only use SimpleQueue: no other queue has a reentrant put.
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def stop(number: int, _: FrameType | None) -> None:
        done.put(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup ignores it
        numbers.append(hangup)
    handlers: dict[int, Any] = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield done
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _refuse(message: str) -> int:
    with suppress(OSError):  # If standard error is closed, the exit code still tells.
        print(f"ctera-direct emulator: {message}", file=sys.stderr)
    return 1


def _port(text: str) -> int:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("not a port; use 1 to 65535, or 0 for a free one")
    return port


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]?)(i?B)?", text, re.IGNORECASE)
    size = int(found.group(1)) * _UNITS[found.group(2).upper()] if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError("not a size; use bytes, such as 4M, 512K or 262144")
    return size


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError("not a lifetime; use a number of seconds above 0")
    return seconds
