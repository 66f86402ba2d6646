"""Runs models: `python -m tests.schedules --help`."""

from __future__ import annotations

import sys

from .runner import main

sys.exit(main())
