"""The place of the view: `path("files/", include("ctera_direct_sync.django.urls"))`."""

from __future__ import annotations

from django.urls import re_path

from .views import serve

app_name = "ctera_direct_sync"

# A name may hold a line break, which `path:` does not match.
urlpatterns = [
    re_path(r"^(?P<alias>[^/]+)/(?P<signature>[^/]+)/(?P<name>[\s\S]+)\Z", serve, name="file")
]
