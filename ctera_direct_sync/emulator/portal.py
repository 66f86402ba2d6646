"""The portal: lists a file's blocks to a caller that has a key (PROTOCOL 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .catalog import Catalog, FileVersion, NoSuchFile
from .keys import wrap
from .messages import Request, Response, html_response, json_response
from .names.interface import Interface


class Portal:
    """Answers `GET {prefix}/directio/{file_id}`, and passes the calls of the API on.

    Args:
        catalog: The files.
        secret_of: Returns the secret access key that wraps file keys for a bearer token, or None if the
            token is not valid.
        prefix: What the portal's paths start with, such as `/tenant`.
        locate: Returns the signed URL to list for the path of an object.
        interface: Answers the calls of the API: sign-in and names.
    """

    def __init__(
        self,
        catalog: Catalog,
        secret_of: Callable[[str], str | None],
        prefix: str,
        locate: Callable[[str], str],
        interface: Interface,
    ) -> None:
        self._catalog = catalog
        self._secret_of = secret_of
        self._prefix = prefix
        self._locate = locate
        self.interface = interface

    def answer(self, request: Request) -> Response:
        """Return the response to a request."""
        if request.call is not None:
            return self.interface.answer(request, request.call)
        if not request.path.startswith(f"{self._prefix}/directio/"):
            return html_response(404, "Not Found")
        secret = self.secret(request)
        if secret is None:
            return json_response(401, {"msg": "Unauthorized"})
        version = self._version(request.file_id)
        if version is None:
            return json_response(400, {"msg": "No such file"})
        if not version.options.direct:
            return json_response(422, {"msg": "Some block is on a node not in direct mode"})
        return json_response(200, self.listing(version, secret))

    def secret(self, request: Request) -> str | None:
        """Return the secret access key that goes with a request's authorization, or None."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return self._secret_of(given.strip()) if scheme.lower() == "bearer" else None

    def listing(self, version: FileVersion, secret_access_key: str) -> dict[str, Any]:
        """Return the block list of a file, in the shape that its options name."""
        options = version.options
        listing: dict[str, Any] = {}
        wrapped_key = wrap(version.key, secret_access_key)
        if options.listing == "pre-8.3":
            listing["wrapped_key"] = wrapped_key
        else:
            listing["encrypt_info"] = self._encrypt_info(options.cipher, wrapped_key)
        if options.listing in ("8.3", "ranged") or options.compression_type == "NONE":
            listing["compression_type"] = options.compression_type
        # An empty file has no chunks. Only this member tells it from a file whose blocks are missing.
        if options.listing == "ranged" or version.source.size == 0:
            listing["actual_blocks_range"] = {
                "file_size": version.source.size,
                "range": f"{version.start}-{version.end}",
            }
        listing["chunks"] = [
            {
                "url": self._locate(f"/blocks/{version.file_id}/{version.number}/{number}"),
                "len": length,
            }
            for number, length in enumerate(version.lengths, 1)
        ]
        return listing

    @staticmethod
    def _encrypt_info(cipher: str | None, wrapped_key: str) -> dict[str, Any]:
        if cipher is None:
            return {"data_encrypted": False}
        info: dict[str, Any] = {"data_encrypted": True, "wrapped_key": wrapped_key}
        if cipher == "AES-GCM":
            info["cipher"] = cipher
        return info

    def _version(self, file_id: int | None) -> FileVersion | None:
        try:
            return None if file_id is None else self._catalog.listed(file_id)
        except NoSuchFile:
            return None
