"""Where models are listed."""

from __future__ import annotations

from ..world import Model

__all__ = ["MODELS", "model"]

#: The models by name.
MODELS: dict[str, Model] = {}


def model(function: Model) -> Model:
    """List a model by its function's name."""
    MODELS[function.__name__.replace("_", "-")] = function
    return function
