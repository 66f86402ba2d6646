"""The part of the portal that knows names: users sign in, list, stat and search (PORTAL.md)."""

from __future__ import annotations
