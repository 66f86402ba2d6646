"""What type checkers must refuse: each line says so, and what is ignored in vain is an error. Never run."""

from __future__ import annotations

from ctera_direct_sync import ByteRange, DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, PortalOptions
from ctera_direct_sync.settings import Endpoint


def mistakes(client: DirectIO) -> None:
    """A wrong type, a wrong name, a missing argument, a coroutine that is none."""
    DirectIO(session=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.download(12345)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.blocks(12345.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.stream(1, (0, 9))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.download_many([5], ".")  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    client.upload  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore
    ByteRange(0, 9).end = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Settings(max_worker=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Settings(checksums=["crc16"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Endpoint(time_out=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Settings().max_workers = "8"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def mistakes_with_the_emulator(portal: Emulator) -> None:
    """A misspelt option, and a value that an option cannot have."""
    Emulator(ciper=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    portal.add(b"", compression="ZIP")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    portal.add(b"", blocksize=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    portal.portal_options.session_over = "404"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    PortalOptions(order="size")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    portal.faults.add("disk")  # type: ignore[arg-type, call-arg]  # pyright: ignore
