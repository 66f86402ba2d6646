"""A Django application, in one file, that serves the portal's files to browsers.

pip install 'ctera-direct-sync[web]' django gunicorn
export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
gunicorn --worker-class gthread --threads 8 django_app:application
"""

from __future__ import annotations

import os
import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import path

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.wsgi import django_response

# In a project of several files this is settings.py.
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(),
)

#: Which of the portal's files this site gives away, under which names. Yours are in a database.
FILES = {"report.pdf": 12345, "film.webm": 67890}

# One client for the whole process. A visitor's response holds at most 8 MiB; there may be many.
direct_settings = Settings(memory=8 * 1024 * 1024, retries=2, retry_timeout=20)
direct_settings.api.timeout = direct_settings.storage.timeout = (5, 15)  # No minutes for a visitor.
direct = DirectIO(settings=direct_settings)


def file(request: HttpRequest, name: str) -> HttpResponseBase:
    """A file, whole or in part, as the browser asks for it."""
    if name not in FILES:
        raise Http404
    return django_response(request, direct, FILES[name], filename=name)


urlpatterns = [path("files/<name>", file)]
application = get_wsgi_application()


if __name__ == "__main__":
    raise SystemExit(__doc__)  # A server imports it: the first lines say how.
