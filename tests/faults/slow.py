"""What takes too long for every run: ``CTERA_DIRECT_SLOW=1 pytest tests/faults`` runs it too."""

from __future__ import annotations

import os

import pytest

slow = pytest.mark.skipif(
    not os.environ.get("CTERA_DIRECT_SLOW"), reason="takes long: CTERA_DIRECT_SLOW=1 runs it"
)
