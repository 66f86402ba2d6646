"""The portal's second half: who signs in, and which file has which name (sign-in, listings, search)."""

from __future__ import annotations
