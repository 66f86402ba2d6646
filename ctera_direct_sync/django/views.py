"""The views that serve the links of `CteraStorage.url`: by WSGI, and without blocking the loop by ASGI."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import SuspiciousFileOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.signing import BadSignature
from django.db import transaction
from django.http import HttpResponse
from django.utils.cache import patch_cache_control

from .. import aio, wsgi
from .._aio.bridge import run_on_thread
from .aliases import find_storage
from .storage import CteraStorage

__all__ = ["serve", "serve_sync"]


# With ATOMIC_REQUESTS, Django refuses an asynchronous view. This one asks no database.
@transaction.non_atomic_requests  # type: ignore[untyped-decorator,unused-ignore]
async def serve(request: Any, alias: str, signature: str, name: str) -> Any:
    """Answer a request for a file, by WSGI and by ASGI.

    Args:
        request: The request.
        alias: The key of the storage in `STORAGES`.
        signature: The signature of the link, with its time.
        name: The name of the file in the storage.
    """
    if not isinstance(request, ASGIRequest):
        # Django runs this on a loop of its own, which nothing else uses.
        return serve_sync(request, alias, signature, name)
    found = _find(alias, signature, name)
    if isinstance(found, HttpResponse):
        return found
    storage, path = found
    # The first use reads a profile and certificates from files, for which the loop must not wait.
    client = storage._known_client() or await run_on_thread(lambda: storage.client, lambda: None)
    return _keep_private(await aio.django_response(request, client, path, timeout=storage.timeout))


@transaction.non_atomic_requests  # type: ignore[untyped-decorator,unused-ignore]
def serve_off_loop(request: Any, alias: str, signature: str, name: str) -> Any:
    """Answer a request as `serve` does, where no event loop runs: `urls` chooses this view there."""
    if isinstance(request, ASGIRequest):
        # Middleware that is synchronous has brought an ASGI request to a thread.
        return async_to_sync(serve)(request, alias, signature, name)
    return serve_sync(request, alias, signature, name)


def serve_sync(request: Any, alias: str, signature: str, name: str) -> Any:
    """Answer a request for a file, by WSGI alone.

    Args:
        request: The request.
        alias: The key of the storage in `STORAGES`.
        signature: The signature of the link, with its time.
        name: The name of the file in the storage.
    """
    found = _find(alias, signature, name)
    if isinstance(found, HttpResponse):
        return found
    storage, path = found
    return _keep_private(
        wsgi.django_response(request, storage.client, path, timeout=storage.timeout)
    )


def _keep_private(response: Any) -> Any:
    """Keep shared caches from a file: they would serve it to others, and after its link has expired."""
    patch_cache_control(response, private=True)
    return response


def _find(alias: str, signature: str, name: str) -> Any:
    """Return the storage and the path that a link leads to, or the answer to one that is not valid."""
    storage = find_storage(alias)
    try:
        if isinstance(storage, CteraStorage):
            return storage, storage._check_url(alias, signature, name)
    except (BadSignature, SuspiciousFileOperation):
        pass
    # The same for each reason: it tells no visitor what exists.
    text = "The link is not valid, or has expired.\n"
    return HttpResponse(text, status=403, content_type="text/plain; charset=utf-8")
