"""What PyInstaller has to know: it finds the hook here by the entry point ``pyinstaller40``."""

from __future__ import annotations

import os

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Return the folders of the hooks."""
    return [os.path.dirname(__file__)]
