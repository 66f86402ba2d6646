"""A Django site whose files are the portal's, for servers that tests start, and its settings for others."""

from __future__ import annotations

import os
import sys
from typing import Any

import django
from django.core.asgi import get_asgi_application
from django.core.files.storage import default_storage
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path

from ctera_direct_sync import Settings

# This module is its own settings. Django 4.2 loses the OPTIONS of settings.configure(STORAGES=...).
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
SECRET_KEY = "of a test"
USE_TZ = True
STORAGES = {
    "default": {
        "BACKEND": "ctera_direct_sync.django.CteraStorage",
        "OPTIONS": {"location": "/My Files/media", "settings": Settings(memory=4 * 1024 * 1024)},
    },
    "staticfiles": {"BACKEND": "django.core.files.storage.memory.InMemoryStorage"},
}


def link(request: Any) -> HttpResponse:
    """The link of ``?name=``, and the process that made it."""
    url = default_storage.url(request.GET["name"])
    return HttpResponse(f"{os.getpid()} {default_storage.size(request.GET['name'])} {url}")


urlpatterns = [path("files/", include("ctera_direct_sync.django.urls")), path("link", link)]

if __name__ != "tests.integrations.django_site":  # A server's: tests in this process have settings.
    os.environ["DJANGO_SETTINGS_MODULE"] = __name__
    django.setup()
    # What a preloaded site may have done before its server forks.
    if "PRELOADED_NAME" in os.environ:
        default_storage.size(os.environ["PRELOADED_NAME"])
        print("preloaded", file=sys.stderr, flush=True)
    application = get_wsgi_application()
    asgi_application = get_asgi_application()
