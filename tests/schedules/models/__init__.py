"""The models, by name. Each is a function that runs on the main task of a `World`."""

from __future__ import annotations

from . import closing, engine_calls, hedging, primitives, reading
from .registry import MODELS

__all__ = ["MODELS", "closing", "engine_calls", "hedging", "primitives", "reading"]
