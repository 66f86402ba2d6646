"""The portal: lists a file's blocks to whoever has a key (PROTOCOL section 1)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Optional

from .catalog import Catalog, FileVersion, NoSuchFile
from .keys import wrap
from .messages import Request, Response, html_response, json_response


class Portal:
    """
    Answers ``GET {prefix}/directio/{file_id}``.

    :param catalog: the files.
    :param bearers: what may follow ``Authorization: Bearer``.
    :param secret_access_key: wraps the file keys.
    :param prefix: what the path starts with, such as ``/tenant``.
    :param locate: turns an object's path into the signed URL to list.
    """

    def __init__(
        self,
        catalog: Catalog,
        bearers: tuple[str, ...],
        secret_access_key: str,
        prefix: str,
        locate: Callable[[str], str],
    ) -> None:
        self._catalog = catalog
        self._bearers = bearers
        self._secret_access_key = secret_access_key
        self._prefix = prefix
        self._locate = locate

    def answer(self, request: Request) -> Response:
        """Return the response to a request."""
        if not request.path.startswith(f"{self._prefix}/directio/"):
            return html_response(404, "Not Found")
        if not self._authorized(request.headers.get("Authorization", "")):
            return json_response(401, {"msg": "Unauthorized"})
        version = self._version(request.file_id)
        if version is None:
            return json_response(400, {"msg": "No such file"})
        if not version.options.direct:
            return json_response(422, {"msg": "Some block is on a node not in direct mode"})
        return json_response(200, self.listing(version))

    def listing(self, version: FileVersion) -> dict[str, Any]:
        """Return the listing of a file in the shape that its options name."""
        options = version.options
        listing: dict[str, Any] = {}
        wrapped_key = wrap(version.key, self._secret_access_key)
        if options.listing == "pre-8.3":
            listing["wrapped_key"] = wrapped_key
        else:
            listing["encrypt_info"] = self._encrypt_info(options.cipher, wrapped_key)
        if options.listing in ("8.3", "ranged") or options.compression_type == "NONE":
            listing["compression_type"] = options.compression_type
        # An empty file has no chunks: only this member tells it from one whose blocks are missing.
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
    def _encrypt_info(cipher: Optional[str], wrapped_key: str) -> dict[str, Any]:
        if cipher is None:
            return {"data_encrypted": False}
        info: dict[str, Any] = {"data_encrypted": True, "wrapped_key": wrapped_key}
        if cipher == "AES-GCM":
            info["cipher"] = cipher
        return info

    def _authorized(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        return scheme.lower() == "bearer" and any(
            hmac.compare_digest(given.strip().encode("utf-8", "replace"), bearer.encode("utf-8"))
            for bearer in self._bearers
        )

    def _version(self, file_id: Optional[int]) -> Optional[FileVersion]:
        try:
            return None if file_id is None else self._catalog.listed(file_id)
        except NoSuchFile:
            return None
