"""Stored objects for tests, made without the package's own code: see the modules' docstrings."""
