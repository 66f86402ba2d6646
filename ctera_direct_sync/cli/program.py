"""The command line, ``ctera-direct``: arguments to a client, what it gives to files and terminals.

Exit codes: 0 done, 1 failed (one line on stderr says what, and what to do), 2 usage, 129, 130 and 143
ended by SIGHUP, SIGINT and SIGTERM, 141 where the reader of standard output stopped early.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import logging
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

from tqdm import tqdm

from .. import codec
from .._core import core_of
from .._readers.manifest import ManifestError
from .._readers.targets import is_stream
from ..client import DirectIO
from ..emulator import command as emulator_command
from ..exceptions import BlockError, DirectIOError, StreamError
from ..settings import Settings
from ..types import ByteRange, Download
from ..version import __version__
from . import batch as batch_command
from . import info as info_command
from . import startup
from .arguments import ChecksumOption, Parser, file_id, number_of_workers, range_of_bytes
from .output import (
    Output,
    OutputClosed,
    TargetError,
    complain,
    is_same_file,
    settle,
    standard_output,
    write_output,
)
from .signals import Interrupts, Signalled

__all__ = ["main"]

_log = logging.getLogger(__name__)

_DONE, _FAILED, _USAGE = 0, 1, 2

#: What a shell reports for a process that a signal ended is this and the signal's number.
_SIGNAL_BASE = 128
_PIPE_CLOSED = _SIGNAL_BASE + 13  # SIGPIPE, which Windows does not have.

_READ_SIZE_BYTES = 1024 * 1024

#: The path that means standard output.
_STANDARD_OUTPUT = "-"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; return the exit code.

    Args:
        argv: The arguments. None: those of this process, which is then prepared to be the command's:
            the signals that end it keep their default action when the command is done.

    Raises:
        SystemExit: ``--help`` was asked for, or the usage is wrong.
    """
    if argv is None:
        startup.prepare()
    else:
        startup.open_descriptors()
    options = argparse.Namespace(name=None)
    try:
        with Interrupts(own_process=argv is None) as interrupts:
            _parser().parse_args(argv, options)
            run: Callable[[argparse.Namespace, Interrupts], int] = options.run
            return run(options, interrupts)
    except Signalled as signalled:
        return _end(options, signalled.text, _SIGNAL_BASE + signalled.number)
    except OutputClosed as closed:
        if closed.name is not None:
            _end(options, f"{closed.name}: its reader went away before all was written", 0)
        return _PIPE_CLOSED
    except TargetError as error:
        return _end(options, _explain(error), _FAILED)
    finally:
        if argv is None:
            settle()


# --- arguments -----------------------------------------------------------------------------------------


class _Usage(Exception):
    """Arguments that are wrong together, or with the environment; the text says how."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
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
    parser.add_argument(
        "-p",
        "--path",
        required=True,
        help="the file to write, which is replaced when all is there; a pipe, a device or an open "
        "descriptor (/dev/stdout, /dev/fd/3) is written to as it is; - for standard output",
    )
    _add_file_id(parser)
    _add_portal(parser)
    _add_transfer(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what is complete if the download ends early, and continue from there the next time",
    )
    parser.add_argument(
        "--checksum",
        nargs=2,
        action=ChecksumOption,
        metavar=("ALGORITHM", "DIGEST"),
        help="sha256 (read back from the disk) or crc32c, in hexadecimal: on any other the download "
        "fails, and what was at PATH before stays",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no closing line")


def _add_batch(commands: Any) -> None:
    text = "download the files of a list to a folder; those that are there and unchanged stay"
    parser = commands.add_parser("batch", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_run, command=_batch, name="batch")
    batch_command.add_arguments(parser, number_of_workers)
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
    info_command.add_arguments(parser)


def _add_emulator(commands: Any) -> None:
    text = "serve a folder as a portal and its object storage, on loopback, for tests and demos"
    parser = commands.add_parser("emulator", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_emulator, name="emulator")
    emulator_command.add_arguments(parser)


def _add_file_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file-id", required=True, type=file_id, metavar="ID", help="file ID"
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
        type=range_of_bytes,
        metavar="A-B",
        help="bytes A to B, both included, counted from 0; A- to the end, -N the last N",
    )
    parser.add_argument(
        "--workers",
        type=number_of_workers,
        metavar="N",
        help="concurrent downloads of blocks (default: found by measuring)",
    )


# --- one command's frame -------------------------------------------------------------------------------


def _run(options: argparse.Namespace, interrupts: Interrupts) -> int:
    """Run a command of the client; every error that a user can meet becomes its line and code here."""
    with _logging(options.debug):
        _log.debug(
            "ctera-direct %s, Python %s, %s codec",
            __version__,
            platform.python_version(),
            codec.backend,
        )
        try:
            with interrupts.watched():
                return _with_client(options, interrupts)
        except _Usage as error:
            return _end(options, str(error), _USAGE)
        except (OSError, _ChecksumMismatch) as error:
            _log.debug("failed", exc_info=error)
            return _end(options, _explain(error), _FAILED)
        except (RuntimeError, MemoryError) as error:
            shortage = _shortage(error)
            if shortage is None:
                raise
            _log.debug("failed", exc_info=error)
            return _end(options, shortage, _FAILED)


def _with_client(options: argparse.Namespace, interrupts: Interrupts) -> int:
    client = _client(options)
    try:
        try:
            code: Optional[int] = options.command(client, options)
        finally:
            with interrupts.held():
                client.close()
    except Signalled:
        # The signal may have come between the end of the command and that of the client.
        with interrupts.held():
            client.close()
        raise
    return code or _DONE


def _end(options: argparse.Namespace, text: str, code: int) -> int:
    name = f"ctera-direct {options.name}" if options.name else "ctera-direct"
    complain(f"{name}: {' '.join(text.splitlines())}")
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
    """The file is not the one that --checksum describes."""


def _explain(error: Exception) -> str:
    """Return one line: what went wrong, with what, and what to do."""
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
        way_out = _WAYS_OUT.get(error.errno) if isinstance(error, TargetError) else None
        return f"{text}: {way_out}" if way_out else text
    return str(error)


def _shortage(error: BaseException) -> Optional[str]:
    """Return what to say of a lack of threads or memory; None for any other error."""
    if isinstance(error, MemoryError):
        return "no memory is left: raise the limit of memory (ulimit -v), or end other programs"
    if "can't start new thread" in str(error):
        return (
            "no thread can be started: raise the limit of processes (ulimit -u, or the pids limit of "
            "the container)"
        )
    return None


# --- download and cat ----------------------------------------------------------------------------------


def _download(client: DirectIO, options: argparse.Namespace) -> None:
    if options.path == _STANDARD_OUTPUT or is_stream(options.path):
        _refuse_for_stream(options)
        _download_to_stream(client, options)
        return
    byte_range = _byte_range(client, options)
    try:
        with _Progress(options, os.path.basename(options.path)) as progress:
            done = core_of(client).download(
                client.metadata(options.file_id),
                options.path,
                byte_range=byte_range,
                resume=options.resume,
                progress=progress,
                max_workers=options.workers,
                verify=_verifier(options) if options.checksum else None,
            )
    except DirectIOError:
        raise
    except OSError as error:
        raise TargetError.of(options.path, error) from error
    if options.quiet:
        return
    try:
        write_output(f"{_closing_line(options.path, done)}\n".encode("utf-8", "surrogateescape"))
    except TargetError as error:
        # The file is in place: a caller that is told of a failure would fetch it again.
        _end(
            options,
            f"{options.path} is complete, but its closing line is lost: {_explain(error)}",
            0,
        )
    except OutputClosed:
        pass


def _refuse_for_stream(options: argparse.Namespace) -> None:
    """Refuse options that need a file which can be read again, or kept."""
    for option, given in (("--checksum", options.checksum), ("--resume", options.resume)):
        if given:
            raise _Usage(
                f"{option}: {options.path} is a stream; name a regular file, or leave {option} out"
            )


def _download_to_stream(client: DirectIO, options: argparse.Namespace) -> None:
    """Write to standard output, a pipe, a device or a descriptor, and nothing else into it."""
    to_stdout = options.path == _STANDARD_OUTPUT
    with standard_output() if to_stdout else Output.open(options.path) as stream:
        aside = not is_same_file(stream.fileno(), 2)
        with _Progress(options, os.path.basename(stream.name), wanted=aside) as progress:
            done = _fill(client, options, stream, progress)
        if not options.quiet:
            line = _closing_line(stream.name, done)
            if not is_same_file(stream.fileno(), 1):
                with contextlib.suppress(TargetError, OutputClosed):
                    write_output(f"{line}\n".encode("utf-8", "surrogateescape"))
            elif aside:
                complain(line)


def _cat(client: DirectIO, options: argparse.Namespace) -> None:
    _fill(client, options, standard_output())


def _fill(
    client: DirectIO,
    options: argparse.Namespace,
    stream: Output,
    progress: Optional[Callable[[int, int], object]] = None,
) -> Download:
    """Write the file, or its range, to a stream; count what was written."""
    byte_range = _byte_range(client, options)
    done = client.download(
        options.file_id,
        stream,  # type: ignore[arg-type]
        byte_range=byte_range,
        progress=progress,
        max_workers=options.workers,
    )
    # Independent of the engine's own accounts: what left this process is what was asked for.
    if stream.written != done.size:
        rest = (byte_range.start if byte_range is not None else 0) + stream.written
        raise TargetError(
            errno.EIO,
            f"{stream.written} of {done.size} bytes were written; --range {rest}- gives the rest",
            stream.name,
        )
    return done


def _closing_line(name: str, done: Download) -> str:
    rate = done.size / max(done.seconds, 1e-9) / 1e6
    return f"{name}: {done.size} bytes, CRC32C {done.crc32c:08x}, {rate:.1f} MB/s"


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
    buffer = memoryview(bytearray(_READ_SIZE_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


class _Progress:
    """A progress bar on stderr, where that is a terminal. A terminal that goes away ends only the bar."""

    def __init__(self, options: argparse.Namespace, name: str, *, wanted: bool = True) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._wanted = wanted and terminal and not options.quiet
        self._name = name
        self._bar: Optional[tqdm[Any]] = None

    def __call__(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        try:
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
        except OSError:
            self._wanted = False

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()


# --- batch ---------------------------------------------------------------------------------------------


def _batch(client: DirectIO, options: argparse.Namespace) -> int:
    if options.json or not options.quiet:
        standard_output()  # Without a place for its log, a batch does not begin.
    try:
        return batch_command.run(client, options, write_output, _explain_item)
    except ManifestError as error:
        raise _Usage(str(error)) from None


def _explain_item(error: Exception) -> str:
    text = _explain(error)
    ours = isinstance(error, (DirectIOError, BlockingIOError)) or not isinstance(error, OSError)
    way_out = None if ours else _WAYS_OUT.get(getattr(error, "errno", None))
    return f"{text}: {way_out}" if way_out else text


# --- info and emulator ---------------------------------------------------------------------------------


def _info(client: DirectIO, options: argparse.Namespace) -> None:
    info_command.run(client, options, write_output)


def _emulator(options: argparse.Namespace, _: Interrupts) -> int:
    return emulator_command.run(options, write_output)


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
            text = self.format(record)
            with tqdm.external_write_mode(sys.stderr):
                complain(text)
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
        "ctera_direct_sync._protocol.portal": logging.ERROR,
        "ctera_direct_sync._protocol.storage": logging.ERROR,
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
