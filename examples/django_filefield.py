"""A Django site in one file, whose FileField has its files on the portal.

Install:  pip install 'ctera-direct-sync[django]' gunicorn
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      export MEDIA='/My Files/media' DJANGO_SECRET_KEY=...
          python django_filefield.py reports            # a row for each file of that folder
          gunicorn --threads 8 django_filefield:application

Then open http://127.0.0.1:8000/. The page shows links that are valid for an hour.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.files.storage import default_storage
from django.core.wsgi import get_wsgi_application
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils.html import format_html, format_html_join

# In a project of several files this is settings.py, and the model is in models.py of an application.
ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]  # It signs the links: each process needs the same.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "documents.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STORAGES = {
    "default": {
        "BACKEND": "ctera_direct_sync.django.CteraStorage",
        "OPTIONS": {"location": os.environ.get("MEDIA", "/My Files/media")},
    }
}
os.environ["DJANGO_SETTINGS_MODULE"] = __name__
django.setup()


class Document(models.Model):
    """A document: its title is here, its file on the portal."""

    title = models.CharField(max_length=200)
    file = models.FileField(unique=True, max_length=500)

    class Meta:
        """The application that the model belongs to."""

        app_label = "library"


def index(request: HttpRequest) -> HttpResponse:
    """Show a link for each document. Check here that this visitor may have them."""
    rows = ((each.file.url, each.title) for each in Document.objects.order_by("title"))
    links = format_html_join("", '<li><a href="{}">{}</a></li>', rows)
    return HttpResponse(format_html("<!doctype html><title>Documents</title><ul>{}</ul>", links))


urlpatterns = [path("", index), path("files/", include("ctera_direct_sync.django.urls"))]
application = get_wsgi_application()


def main() -> None:
    """Add a row for each file of a folder of the storage."""
    (folder,) = sys.argv[1:] or [""]
    if Document._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:  # A project has migrations for this.
            editor.create_model(Document)
    try:
        _, names = default_storage.listdir(folder)
    except OSError as error:  # Each DirectIOError is an OSError.
        sys.exit(f"{folder or 'the storage'} cannot be listed: {error}")
    for name in names:
        Document.objects.get_or_create(
            file=f"{folder}/{name}".lstrip("/"), defaults={"title": name}
        )
    print(f"{len(names)} files, {Document.objects.count()} documents")


if __name__ == "__main__":
    main()
