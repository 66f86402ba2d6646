"""A certificate authority of the emulator's own, for HTTPS on loopback."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Any


class Certificates:
    """A certificate for the server, and the bundle by which clients trust it.

    Args:
        *names: The host names and addresses that the certificate is for.

    Attributes:
        context: The TLS context of the server.
        bundle: The path of the authority's certificate, in PEM, in a temporary folder.

    Raises:
        RuntimeError: The package trustme is missing.
    """

    def __init__(self, *names: str) -> None:
        authority = _trustme().CA(organization_name="CTERA Direct emulator")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)
        self._folder = tempfile.TemporaryDirectory(prefix="ctera-emulator-")
        self.bundle = str(Path(self._folder.name, "ca.pem"))
        authority.cert_pem.write_to_path(self.bundle)

    def remove(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


def _trustme() -> Any:
    try:
        import trustme
    except ImportError as error:
        raise RuntimeError(
            "TLS needs the package trustme: pip install 'ctera-direct-sync[emulator]'"
        ) from error
    return trustme
