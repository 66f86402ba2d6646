"""The command line, ``ctera-direct``: arguments to a client, what it gives to files and terminals.

Exit codes: 0 done, 1 failed (one line on stderr says what, and what to do), 2 usage, 130 interrupted,
143 terminated, 141 where standard output was closed early, as ``cat`` has it in a shell's pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import logging
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import IO, Any, Callable, NamedTuple, NoReturn, Optional, Union

from tqdm import tqdm

from . import batch_command, codec
from .client import DirectIO
from .emulator import command as emulator_command
from .exceptions import BlockError, DirectIOError, StreamError
from .faults import HTTPFault
from .manifest import ManifestError
from .settings import Settings
from .types import ByteRange, Chunk, Metadata
from .urls import origin_of
from .version import __version__

__all__ = ["main"]

_log = logging.getLogger(__name__)

_DONE, _FAILED, _USAGE = 0, 1, 2

#: What a shell reports for a process that a signal ended is this and the signal's number.
_SIGNAL_BASE = 128
_PIPE_CLOSED = _SIGNAL_BASE + 13  # SIGPIPE, which Windows does not have.

_READ_STEP = 1024 * 1024


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; return the exit code. SystemExit for ``--help`` and for wrong usage."""
    options = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


# --- arguments -----------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage in one line."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Usage(Exception):
    """Arguments that are wrong together, or with the environment; the text says how."""


class _Checksum(NamedTuple):
    algorithm: str
    digest: str


#: Hexadecimal digits of each checksum that --checksum takes.
_DIGITS = {"sha256": 64, "crc32c": 8}


class _ChecksumAction(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Union[str, Sequence[Any], None],
        option_string: Optional[str] = None,
    ) -> None:
        algorithm, digest = (str(value).lower() for value in values or ())
        digits = _DIGITS.get(algorithm)
        if digits is None:
            raise argparse.ArgumentError(self, f"{algorithm!r} is none of {', '.join(_DIGITS)}")
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest):
            raise argparse.ArgumentError(self, f"{algorithm} is {digits} hexadecimal digits")
        setattr(namespace, self.dest, _Checksum(algorithm, digest))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ctera-direct",
        description="Download files from the CTERA global namespace, straight from its object storage.",
        epilog="Keys are best given by the environment: CTERA_DIRECT_URL, CTERA_DIRECT_ACCESS_KEY_ID, "
        "CTERA_DIRECT_SECRET_ACCESS_KEY, or CTERA_DIRECT_BEARER.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_download(commands)
    _add_batch(commands)
    _add_cat(commands)
    _add_info(commands)
    _add_emulator(commands)
    return parser


def _add_download(commands: Any) -> None:
    text = "download a file, or a range of it, to a path"
    parser = commands.add_parser("download", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_run, command=_download, name="download")
    parser.add_argument("-p", "--path", required=True, help="where to; replaced when all is there")
    _add_file_id(parser)
    _add_portal(parser)
    _add_transfer(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what was got if it ends early, and take up there the next time",
    )
    parser.add_argument(
        "--checksum",
        nargs=2,
        action=_ChecksumAction,
        metavar=("ALGORITHM", "DIGEST"),
        help="sha256 (read back from the disk) or crc32c, in hexadecimal: on any other the download "
        "fails, and what was at PATH before stays",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no closing line")


def _add_batch(commands: Any) -> None:
    text = "download the files of a list to a folder; those that are there and unchanged stay"
    parser = commands.add_parser("batch", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_run, command=_batch, name="batch")
    batch_command.add_arguments(parser, _workers)
    _add_portal(parser)


def _add_cat(commands: Any) -> None:
    text = "write a file, or a range of it, to standard output"
    parser = commands.add_parser("cat", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_run, command=_cat, name="cat")
    _add_file_id(parser)
    _add_portal(parser)
    _add_transfer(parser)


def _add_info(commands: Any) -> None:
    text = "show a file's size, encryption, compression and blocks"
    parser = commands.add_parser("info", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_run, command=_info, name="info")
    _add_file_id(parser)
    _add_portal(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _add_emulator(commands: Any) -> None:
    text = "serve a folder as a portal and its object storage, on loopback, for tests and demos"
    parser = commands.add_parser("emulator", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=emulator_command.run)
    emulator_command.add_arguments(parser)


def _add_file_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file-id", required=True, type=_file_id, metavar="ID", help="file ID"
    )


def _add_portal(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("portal")
    group.add_argument(
        "-e",
        "--endpoint",
        metavar="URL",
        help="the portal, such as https://tenant.ctera.com (default: CTERA_DIRECT_URL)",
    )
    group.add_argument(
        "-a",
        "--access",
        metavar="ID",
        help="access key ID (default: CTERA_DIRECT_ACCESS_KEY_ID)",
    )
    group.add_argument(
        "-s",
        "--secret",
        metavar="KEY",
        help="secret access key (default: CTERA_DIRECT_SECRET_ACCESS_KEY, which is the better place: "
        "every user of this machine can read the arguments of a process)",
    )
    group.add_argument(
        "-b",
        "--bearer",
        metavar="TOKEN",
        help="bearer token, for files that are not encrypted (default: CTERA_DIRECT_BEARER)",
    )
    group.add_argument(
        "-k",
        "--no-verify-ssl",
        action="store_true",
        help="trust any certificate, of portal and storage; to trust one authority more, set "
        "REQUESTS_CA_BUNDLE to its certificate's path instead",
    )
    parser.add_argument("-d", "--debug", action="store_true", help="tell on stderr what is done")


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--range",
        type=_range,
        metavar="A-B",
        help="bytes A to B, both included, counted from 0; A- to the end, -N the last N",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="concurrent downloads of blocks (default: found by measuring)",
    )


def _file_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no file ID, which is a number")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _range(text: str) -> tuple[Optional[int], Optional[int]]:
    """First and last byte, as in RFC 9110, section 14.1.1; no first: the last ``last`` bytes."""
    match = re.fullmatch(r"([0-9]*)-([0-9]*)", text)
    first, last = (
        (int(part) if part else None for part in match.groups()) if match else (None, None)
    )
    if first is None and not last:
        raise argparse.ArgumentTypeError(f"{text!r} is none of A-B, A- and -N")
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return first, last


# --- one command's frame -------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    """Run a command of the client; every error that a user can meet becomes its line and code here."""
    with _logging(options.debug):
        _log.debug(
            "ctera-direct %s, Python %s, %s codec",
            __version__,
            platform.python_version(),
            codec.backend,
        )
        try:
            with _signals_raise(), _client(options) as client:
                code: Optional[int] = options.command(client, options)
            return code or _DONE
        except _Signalled as signalled:
            return _end(options, signalled.text, _SIGNAL_BASE + signalled.number)
        except _OutputClosed:
            return _PIPE_CLOSED
        except _Usage as error:
            return _end(options, str(error), _USAGE)
        except (OSError, _ChecksumMismatch) as error:
            _log.debug("failed", exc_info=error)
            return _end(options, _explain(error), _FAILED)


def _end(options: argparse.Namespace, text: str, code: int) -> int:
    line = " ".join(text.split("\n"))
    if sys.stderr is not None:
        print(f"ctera-direct {options.name}: {line}", file=sys.stderr)
    return code


def _client(options: argparse.Namespace) -> DirectIO:
    settings = Settings()
    if options.no_verify_ssl:
        settings.api.ssl = settings.storage.ssl = False
    endpoint = options.endpoint
    if endpoint and "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    try:
        return DirectIO(endpoint, options.access, options.secret, options.bearer, settings=settings)
    except ValueError as error:
        raise _Usage(_with_option(str(error))) from None


#: The option behind each argument of DirectIO that its complaints name.
_OPTIONS = {"baseurl": "-e", "access_key_id": "-a", "secret_access_key": "-s", "bearer": "-b"}


def _with_option(text: str) -> str:
    name = text.partition(" ")[0]
    return f"{text} (it is the option {_OPTIONS[name]})" if name in _OPTIONS else text


def _byte_range(client: DirectIO, options: argparse.Namespace) -> Optional[ByteRange]:
    if options.range is None:
        return None
    first, last = options.range
    if first is None:
        return ByteRange(max(0, client.metadata(options.file_id).size - last))
    return ByteRange(first, last)


# --- errors --------------------------------------------------------------------------------------------

_WAYS_OUT = {
    errno.ENOSPC: "free some space, or choose another place",
    getattr(errno, "EDQUOT", None): "free some of your quota, or choose another place",
    errno.EFBIG: "see the limit of file sizes (ulimit -f), and that of the file system",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class _ChecksumMismatch(Exception):
    pass


def _explain(error: Exception) -> str:
    """One line: what went wrong, with what, and what to do."""
    if isinstance(error, StreamError):
        cause = error.__cause__
        where = f"{cause.block}" if isinstance(cause, BlockError) else f"file {error.filename}"
        return f"{error.strerror} ({where}); --range {error.offset}- gives the rest"
    if isinstance(error, BlockError):
        return f"{error.strerror} ({error.block})"
    if isinstance(error, DirectIOError):
        return f"{error.strerror} (file {error.filename})"
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {text}"
        way_out = _WAYS_OUT.get(error.errno) if isinstance(error, _TargetError) else None
        return f"{text}: {way_out}" if way_out else text
    return str(error)


class _TargetError(OSError):
    """What the system says about the file or stream that is written."""


@contextlib.contextmanager
def _target(name: str) -> Iterator[None]:
    """Give errors of the system the name of what was written, and mark them as such."""
    try:
        yield
    except (DirectIOError, BrokenPipeError):
        raise
    except OSError as error:
        raise _target_error(name, error) from error


def _target_error(name: str, error: OSError) -> _TargetError:
    return _TargetError(error.errno, f"cannot be written: {error.strerror or error}", name)


# --- download ------------------------------------------------------------------------------------------


def _download(client: DirectIO, options: argparse.Namespace) -> None:
    if options.checksum and os.path.exists(options.path) and not os.path.isfile(options.path):
        raise _Usage(f"--checksum needs a file to write to, and {options.path} is none")
    byte_range = _byte_range(client, options)
    with _target(options.path), _Progress(options) as progress:
        done = client._download(
            options.file_id,
            options.path,
            byte_range=byte_range,
            resume=options.resume,
            progress=progress,
            max_workers=options.workers,
            verify=_verifier(options) if options.checksum else None,
        )
    if not options.quiet:
        rate = done.size / max(done.seconds, 1e-9) / 1e6
        text = f"{options.path}: {done.size} bytes, CRC32C {done.crc32c:08x}, {rate:.1f} MB/s"
        with _standard_output() as output:
            output.write(os.fsencode(text) + b"\n")


def _verifier(options: argparse.Namespace) -> Callable[[str, int], None]:
    algorithm, expected = options.checksum

    def verify(path: str, crc32c: int) -> None:
        actual = f"{crc32c:08x}" if algorithm == "crc32c" else _sha256(path)
        if actual != expected:
            raise _ChecksumMismatch(
                f"The file's {algorithm} is {actual}, not {expected}: {options.path} is left as it was "
                "before. Check the expected digest and the file ID"
            )

    return verify


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_STEP))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


class _Progress:
    """A progress bar on stderr, where that is a terminal and nobody asked for quiet."""

    def __init__(self, options: argparse.Namespace) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._wanted = terminal and not options.quiet
        self._name = os.path.basename(options.path)
        self._bar: Optional[tqdm[Any]] = None

    def __call__(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._bar is None:
            self._bar = tqdm(
                desc=self._name,
                initial=done,
                total=total,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


# --- standard output -----------------------------------------------------------------------------------


class _OutputClosed(Exception):
    """Whoever read our standard output wants no more of it."""


@contextlib.contextmanager
def _standard_output(buffering: int = -1) -> Iterator[IO[bytes]]:
    """Standard output as a file of bytes. _OutputClosed once nobody reads it."""
    with _target("standard output"):
        if sys.stdout is None:  # Closed from the start: by now descriptor 1 may be anything.
            raise OSError(errno.EBADF, "it is closed")
        try:
            with open(1, "wb", buffering=buffering, closefd=False) as output:
                yield output
        except BrokenPipeError:
            raise _OutputClosed from None


def _cat(client: DirectIO, options: argparse.Namespace) -> None:
    byte_range = _byte_range(client, options)
    with _standard_output(buffering=0) as output:
        client.download(options.file_id, output, byte_range=byte_range, max_workers=options.workers)


# --- batch ---------------------------------------------------------------------------------------------


def _batch(client: DirectIO, options: argparse.Namespace) -> int:
    def write(lines: bytes) -> None:
        with _standard_output() as output:
            output.write(lines)

    try:
        return batch_command.run(client, options, write, _explain_item)
    except ManifestError as error:
        raise _Usage(str(error)) from None


def _explain_item(error: Exception) -> str:
    text = _explain(error)
    ours = isinstance(error, (DirectIOError, BlockingIOError)) or not isinstance(error, OSError)
    way_out = None if ours else _WAYS_OUT.get(getattr(error, "errno", None))
    return f"{text}: {way_out}" if way_out else text


# --- info ----------------------------------------------------------------------------------------------


def _info(client: DirectIO, options: argparse.Namespace) -> None:
    metadata = client.metadata(options.file_id)
    text = _json(metadata) if options.json else _table(metadata)
    with _standard_output() as output:
        output.write(text.encode("ascii", "backslashreplace"))


def _json(metadata: Metadata) -> str:
    return (
        json.dumps(
            {
                "file_id": metadata.file_id,
                "size": metadata.size,
                "encrypted": metadata.encrypted,
                "cipher": metadata.cipher if metadata.encrypted else None,
                "key_bits": _key_bits(metadata),
                "compressed": metadata.compressed,
                "compression": metadata.compression_library,
                "blocks": [
                    {
                        "number": chunk.number,
                        "offset": chunk.offset,
                        "length": chunk.length,
                        "storage": _storage(chunk),
                    }
                    for chunk in metadata.chunks
                ],
            },
            indent=2,
        )
        + "\n"
    )


def _table(metadata: Metadata) -> str:
    lengths = [chunk.length for chunk in metadata.chunks]
    span = f" of {min(lengths)} to {max(lengths)} bytes" if lengths else ""
    lines = [
        f"File ID      {metadata.file_id}",
        f"Size         {metadata.size} bytes",
        f"Encryption   {_encryption(metadata)}",
        f"Compression  {_compression(metadata)}",
        f"Blocks       {len(lengths)}{span}",
    ]
    for number, storage in enumerate(sorted({_storage(chunk) for chunk in metadata.chunks})):
        lines.append(f"{'' if number else 'Storage':11}  {storage}")
    if lengths:
        lines += ["", f"{'BLOCK':>8}  {'OFFSET':>16}  {'LENGTH':>12}"]
    for chunk in metadata.chunks:
        lines.append(f"{chunk.number:>8}  {chunk.offset:>16}  {chunk.length:>12}")
    return "\n".join(lines) + "\n"


def _encryption(metadata: Metadata) -> str:
    return f"{metadata.cipher}, {_key_bits(metadata)}-bit key" if metadata.encrypted else "none"


def _compression(metadata: Metadata) -> str:
    if not metadata.compressed:
        return "none"
    return metadata.compression_library or "not told; found out from each block"


def _key_bits(metadata: Metadata) -> Optional[int]:
    return 8 * len(metadata.encryption_key) if metadata.encryption_key is not None else None


def _storage(chunk: Chunk) -> str:
    """Where a block is: its URL's scheme, host and port. The rest of it is a key to the block."""
    try:
        return origin_of(chunk.url).rpartition("@")[2]
    except HTTPFault:
        return "malformed URL"


# --- signals -------------------------------------------------------------------------------------------

#: Seconds within which another signal cannot break off the tidying up after the last.
_GRACE = 1.0


class _Signalled(BaseException):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.text = "interrupted" if number == signal.SIGINT else "terminated"


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the command as an exception does, so that it tidies up."""
    last: Optional[float] = None

    def handle(number: int, _: Optional[FrameType]) -> None:
        nonlocal last
        now = time.monotonic()
        if last is None or now - last > _GRACE:
            last = now
            raise _Signalled(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Who started us with the signal ignored, such as nohup, wants it ignored.
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- logging -------------------------------------------------------------------------------------------

#: The query of a URL, in whatever text: pre-signed ones grant access.
_QUERY = re.compile(r"\?[^\s'\"<>)\]]+")


class _Redacting(logging.Formatter):
    """Ours log no query of a URL; other packages' loggers may."""

    def format(self, record: logging.LogRecord) -> str:
        return _QUERY.sub("?...", super().format(record))


class _Terminal(logging.Handler):
    """Writes to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # noqa: BLE001 - logging's own way with errors of handlers
            self.handleError(record)


@contextlib.contextmanager
def _logging(debug: bool) -> Iterator[None]:
    """Log to stderr: warnings, or, with ``debug``, all that this package does."""
    handler = _Terminal()
    pattern = "%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s"
    handler.setFormatter(_Redacting(pattern))
    levels = {"ctera_direct_sync": logging.DEBUG} if debug else {
        # Attempts that are repeated: in the end it works, or the error says why not.
        "ctera_direct_sync.portal": logging.ERROR,
        "ctera_direct_sync.storage": logging.ERROR,
    }  # fmt: skip
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in levels}
    root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
