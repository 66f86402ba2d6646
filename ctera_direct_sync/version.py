"""The version, in its only place: pyproject.toml reads it, and no import has to look for metadata."""

__all__ = ["__version__"]

__version__ = "0.1.0"
