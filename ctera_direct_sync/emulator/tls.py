"""A certificate authority of the emulator's own, for HTTPS on loopback."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Any


class Certificates:
    """
    A server context, and the bundle by which a client may trust it, in a temporary folder.

    :param names: host names and addresses that the certificate is for.
    :raises RuntimeError: the package trustme is missing.
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
