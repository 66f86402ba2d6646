"""A storage for Django: a folder of the portal, read-only, with links that a view serves with ranges.

In `settings.py`::

    STORAGES = {
        "default": {
            "BACKEND": "ctera_direct_sync.django.CteraStorage",
            "OPTIONS": {"location": "/My Files/media"},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }

In `urls.py`::

    urlpatterns = [path("files/", include("ctera_direct_sync.django.urls"))]

The view reads the headers of requests by werkzeug: install the extra `django`.
"""

from __future__ import annotations

from .storage import CteraStorage

__all__ = ["CteraStorage"]
