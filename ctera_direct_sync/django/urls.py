"""The place of the view: `path("files/", include("ctera_direct_sync.django.urls"))`."""

from __future__ import annotations

import asyncio
from typing import Any

from django.urls import URLPattern, re_path

from .views import serve, serve_off_loop

app_name = "ctera_direct_sync"


class _FilePattern(URLPattern):  # type: ignore[misc]
    """The pattern of links. Where no event loop runs, it leads to the view that needs none.

    Django runs an asynchronous view of a WSGI request on a loop of its own. Under gevent all greenlets of
    a worker share one thread, and a thread has one loop: two visitors at a time would get errors.
    """

    def resolve(self, path: str) -> Any:
        """Return the view of a path, or None if the pattern does not match it."""
        match = super().resolve(path)
        if match is not None and not _has_loop():
            match.func = serve_off_loop
        return match


def _has_loop() -> bool:
    """Return whether an event loop runs on this thread, as it does for ASGI requests."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# A name may hold a line break, which `path:` does not match.
_files = re_path(r"^(?P<alias>[^/]+)/(?P<signature>[^/]+)/(?P<name>[\s\S]+)\Z", serve, name="file")

urlpatterns = [_FilePattern(_files.pattern, serve, name="file")]
