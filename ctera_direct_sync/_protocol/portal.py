"""The portal: it is asked for block lists, and its answers are judged here."""

from __future__ import annotations

import errno
import json
import logging
import re
from typing import Any, Callable

from .._base.cancellation import CancelScope, Race, RaceTrack, SingleFlight, Twin
from .._base.retry import (
    FailedAttempt,
    Recovery,
    RetryPolicy,
    is_transient,
    retry_after,
    retry_call,
)
from .._net.content_coding import removable_codings, remove_codings
from .._net.errors import TransportError, proxy_advice, tls_advice
from .._net.session import MAX_REDIRECTS, REDIRECTS, HTTPSession, Response
from .._net.urls import origin_of, redirect_target
from ..exceptions import (
    BlockListConnectionError,
    BlockListTimeout,
    DirectIOAPIError,
    InvalidRequest,
    NotFoundError,
    UnAuthorized,
    UnprocessableContent,
)
from ..types import Metadata, SignedURL, Token
from .block_list import MalformedBlockList, parse

__all__ = ["Portal"]

_log = logging.getLogger(__name__)

MIB = 1024 * 1024

#: A longer answer is refused: 256 MiB hold the list of 600,000 blocks with URLs of 400 characters.
_MAX_ANSWER_BYTES = 256 * MIB
#: A second request for a late answer takes no longer one: 20,000 blocks. The first request goes on.
_MAX_TWIN_BYTES = 8 * MIB
#: Values of JSON that an answer may hold, by its commas: a block has two. Each may become some 300 bytes
#: of Python objects, so that without this bound 256 MiB of short values would become 10 GB.
_MAX_VALUES = 4_000_000
#: Of an answer that is not a block list: the bytes looked at for the message, and what of them is shown.
_BEGINNING_BYTES = 512
_MAX_WORDS = 4
#: A word that is shown: too short for a key, and without what separates the parts of a query.
_PLAIN_WORD = re.compile(r"(?:[A-Za-z!/{}\[\]\"':,._-]{1,20}|[0-9]{1,3})\Z")
_TAG = re.compile(r"<[^>]*>?")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")

_REFUSALS: dict[int, tuple[type[DirectIOAPIError], str]] = {
    400: (NotFoundError, "The portal knows no such file: check the file ID and the portal's URL"),
    401: (
        UnAuthorized,
        "The portal refuses the credentials: check the access key ID or bearer token",
    ),
    403: (
        UnAuthorized,
        "The portal refuses access: check that the key's owner may read the file",
    ),
    422: (
        UnprocessableContent,
        "Not all blocks of the file are on storage nodes in direct mode: ask the portal's "
        "administrator, or download the file through the portal",
    ),
}


class Portal:
    """Fetches block lists with one set of credentials. Thread-safe, like the session that it is given.

    A block list keeps its portal for later renewals, also in a forked child. Therefore the child gives
    the same portal new connections, and does not make another one.
    """

    def __init__(
        self,
        baseurl: str,
        bearer: Token,
        secret_access_key: Token | None,
        policy: RetryPolicy,
        hedging: RaceTrack | None = None,
    ) -> None:
        self._hedging = hedging or RaceTrack()
        self._endpoint = baseurl.rstrip("/") + "/directio/"
        self._headers = {
            "Authorization": Token(f"Bearer {bearer}"),
            "Accept": "application/json",
        }
        self._secret = secret_access_key
        self._secrets = (bearer, secret_access_key)
        self._policy = policy
        self._http: HTTPSession
        self._renewals: SingleFlight[Metadata]

    def connect(self, http: HTTPSession) -> None:
        """Use `http` from now on: before the first call, and in a forked child."""
        self._http = http
        # A renewal that another thread of the parent had begun would never end here.
        self._renewals = SingleFlight()

    def fetch_block_list(self, file_id: int, scope: CancelScope) -> Metadata:
        """Return the file's block list (PROTOCOL section 1), its key unwrapped.

        The request is retried by the policy if the answer may be an accident: a busy or failing portal,
        truncated JSON, a proxy's page.

        Args:
            file_id: The file.
            scope: The cancel scope of the caller.

        Raises:
            DirectIOAPIError: The portal did not answer with a block list. Subclasses say why.
            DecryptKeyError: The file's key cannot be unwrapped.
        """

        def tell(failure: FailedAttempt, number: int, delay: float) -> None:
            text = failure.error.strerror
            _log.warning("listing file %s: %s; attempt %d in %.2f s", file_id, text, number, delay)

        return retry_call(
            self._policy,
            lambda number: self._hedge(file_id, scope),
            scope=scope,
            on_retry=tell,
        )

    def share_renewal(
        self, file_id: int, fetch: Callable[[], Metadata], scope: CancelScope
    ) -> Metadata:
        """Return what `fetch` returns, or what a renewal of the same file returns that is under way.

        Args:
            file_id: The file.
            fetch: Fetches its block list.
            scope: The cancel scope of the caller, which ends its waiting.
        """
        return self._renewals.run(file_id, fetch, scope)

    def close(self) -> None:
        """Close the connections to the portal."""
        self._http.close()

    def _hedge(self, file_id: int, scope: CancelScope) -> Metadata:
        """Ask once, or twice if the answer is late. Raise as `_attempt`."""
        if not self._hedging.enabled:
            return self._attempt(file_id, scope)

        def ask_again(twin: Twin, reason: str) -> Metadata:
            return self._attempt(file_id, twin, _MAX_TWIN_BYTES)

        race = Race(scope, self._hedging, ask_again, _MAX_TWIN_BYTES)
        return race.run(self._attempt, file_id)

    def _attempt(
        self, file_id: int, scope: CancelScope, limit: int = _MAX_ANSWER_BYTES
    ) -> Metadata:
        """Ask once. Raise `FailedAttempt` if another attempt makes sense.

        Args:
            file_id: The file.
            scope: What may end the request.
            limit: The most bytes that the answer may have.
        """
        url = SignedURL(f"{self._endpoint}{file_id}")
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._http.get(url, scope, self._headers) as response:
                    _log.debug("listing file %s: %d", file_id, response.status)
                    if response.status == 200:
                        return self._read(file_id, _Answer(response, longest=limit))
                    if response.status not in REDIRECTS:
                        raise self._refusal(file_id, response)
                    status = response.status
                    given = response.headers.get("location")
                    location = None if given is None else SignedURL(given)
                    del given
            except TransportError as caught:
                cause = caught
                break
            url = _same_origin(file_id, url, status, location)
        else:
            raise DirectIOAPIError("The portal redirects in a circle: check its URL", file_id)
        raise _unreachable(file_id, origin_of(url), cause)

    def _read(self, file_id: int, answer: _Answer) -> Metadata:
        """Return the block list that a 200 holds."""
        problem: BaseException | None = None
        reason = ""
        try:
            return parse(file_id, answer.take_document(file_id), self._secret)
        except MalformedBlockList as caught:
            reason = str(caught)
        except MemoryError:
            text = "The file's block list is larger than the memory at hand"
            problem = DirectIOAPIError(text, file_id, errno=errno.ENOMEM)
        except BaseException as caught:  # noqa: BLE001 - json's frames hold the whole answer
            problem = caught.with_traceback(None)
        if problem is not None:
            raise problem
        text = f"The portal's answer is not a block list: {reason} ({self._what_came(answer)})"
        raise FailedAttempt(
            DirectIOAPIError(f"{text}: check the portal's URL", file_id), Recovery.RETRY
        )

    def _refusal(self, file_id: int, response: Response) -> Exception:
        """Return the exception for a status that is neither 200 nor a redirect."""
        status = response.status
        if status in _REFUSALS:
            cls, text = _REFUSALS[status]
            return cls(text, file_id)
        answer = _Answer(response, _BEGINNING_BYTES)
        came = self._what_came(answer)
        if status == 500:
            text = (
                f"The portal rejects the request ({came}): check the file ID and that Direct IO is "
                "enabled there"
            )
            error: DirectIOAPIError = InvalidRequest(text, file_id)
            return FailedAttempt(error, Recovery.RETRY, retry_after(response.headers))
        if is_transient(status):
            text = f"The portal is busy or failing ({came}): try again later"
            error = DirectIOAPIError(text, file_id)
            return FailedAttempt(error, Recovery.RETRY, retry_after(response.headers))
        text = f"The portal did not answer with a block list ({came}): check its URL"
        return DirectIOAPIError(text, file_id)

    def _what_came(self, answer: _Answer) -> str:
        """Return status, type and first words of an answer, without anything secret."""
        parts = [f"HTTP {answer.status}"]
        media_type = _MEDIA_TYPE.match(answer.content_type.strip().lower())
        if media_type is not None:
            parts.append(media_type.group())
        if any(secret and secret in answer.beginning for secret in self._secrets):
            return ", ".join(parts)
        words = _TAG.sub(" ", answer.beginning).split()[:_MAX_WORDS]
        if words:
            shown = " ".join(word if _PLAIN_WORD.match(word) else "..." for word in words)
            parts.append(f"it begins with {shown!r}")
        return ", ".join(parts)


class _Answer:
    """An answer of the portal. Its repr is the default one, which shows nothing of the content."""

    def __init__(
        self, response: Response, limit: int | None = None, longest: int = _MAX_ANSWER_BYTES
    ) -> None:
        """Read the body: all of it, or its first `limit` bytes if its length is declared."""
        self.status = response.status
        self.content_type = response.headers.get("content-type", "")
        if limit is None:
            self._body = _without_coding(response.read(longest), response)
        else:
            # An undeclared body may never end, and its words are not worth a wait.
            size = min(limit, response.length or 0)
            self._body = bytes(response.read_window(0, size)) if size else b""
        self.beginning = self._body[:_BEGINNING_BYTES].decode("ascii", "replace")

    def take_document(self, file_id: int) -> Any:
        """Return the JSON that the body holds, and let go of the body.

        Raises:
            MalformedBlockList: The body is not JSON.
            DirectIOAPIError: The body holds more values than fit into memory.
        """
        if self._body.count(b",") > _MAX_VALUES:
            raise DirectIOAPIError(
                f"The portal's block list holds more than {_MAX_VALUES:,} values: the file has more "
                "blocks than this client can hold in memory",
                file_id,
            )
        try:
            return json.loads(self._take_body())
        except (ValueError, RecursionError):
            pass
        raise MalformedBlockList(
            "it is an HTML page" if self._is_page() else "it is not valid JSON"
        )

    def _is_page(self) -> bool:
        return self.beginning.lstrip().startswith("<")

    def _take_body(self) -> bytes:
        body, self._body = self._body, b""
        return body


def _without_coding(body: bytes | memoryview, response: Response) -> bytes:
    """Return the body of an answer without gzip or deflate. Any other coding is only a label."""
    codings = removable_codings(response.headers)
    if not codings or bytes(body[:64]).lstrip().startswith(b"{"):
        return bytes(body)
    return remove_codings(body, codings, _MAX_ANSWER_BYTES)


def _unreachable(file_id: int, origin: str, cause: TransportError) -> Exception:
    """Return the exception for a request to the portal that got no usable answer."""
    error = _no_answer(file_id, origin, cause)
    return FailedAttempt(error, Recovery.RETRY) if cause.transient else error


def _no_answer(file_id: int, origin: str, cause: TransportError) -> DirectIOAPIError:
    if cause.proxy:
        advice = proxy_advice(cause, "settings.api.ssl")
        text = f"The portal at {origin} was not reached: {cause.reason}{advice}"
        kind = BlockListTimeout if cause.kind == "timeout" else BlockListConnectionError
        return kind(text, file_id)
    if cause.kind == "timeout":
        text = f"The portal did not answer in time ({cause.reason}): raise settings.api.timeout"
        return BlockListTimeout(text, file_id)
    if cause.kind == "slow":
        text = (
            f"The portal was slower than settings.api.min_speed ({cause.reason}): lower it, or check "
            "the network"
        )
        return BlockListTimeout(text, file_id)
    if cause.kind == "tls":
        text = (
            f"No secure connection to the portal at {origin}: {cause.reason}"
            f"{tls_advice(cause, 'settings.api.ssl')}"
        )
        return BlockListConnectionError(text, file_id)
    if cause.kind == "url":
        return BlockListConnectionError(f"The portal's URL cannot be used: {cause.reason}", file_id)
    if cause.kind == "long":
        return DirectIOAPIError(f"The portal's answer is not a block list: {cause.reason}", file_id)
    text = f"No answer from the portal at {origin}: {cause.reason}. Check its URL and the network"
    return BlockListConnectionError(text, file_id)


def _same_origin(file_id: int, url: str, status: int, location: str | None) -> SignedURL:
    """Return where a redirect goes. The credentials are sent to the same origin only."""
    problem = None
    try:
        target = SignedURL(redirect_target(url, status, location))
        if origin_of(target) != origin_of(url):
            problem = (
                f"The portal redirects to {origin_of(target)}: if that is right, use it as baseurl"
            )
    except TransportError as cause:
        problem = f"The portal's answer cannot be followed: {cause.reason}. Check the portal's URL"
    if problem is not None:
        raise DirectIOAPIError(problem, file_id)
    return target
