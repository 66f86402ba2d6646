"""Readers above the engine: the cache of open files, renewal of a block list, batches."""

from __future__ import annotations
