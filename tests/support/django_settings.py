"""The settings of Django in the tests' own process, which can be set only once."""

from __future__ import annotations

import django
from django.conf import settings

__all__ = ["configure"]


def configure() -> None:
    """Set Django up, unless another test did. `override_settings` changes the rest."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            DEFAULT_CHARSET="utf-8",
            SECRET_KEY="of a test",
            SECRET_KEY_FALLBACKS=[],
        )
        django.setup()
