"""What a traceback shows of the library's own frames."""

from __future__ import annotations

import traceback
from pathlib import Path

import ctera_direct_sync

_PACKAGE = str(Path(ctera_direct_sync.__file__).parent)


def told_by_library(error: BaseException) -> str:
    """Return all that an error tells with its frames' locals, from the library's first frame on.

    The frames of the test itself are left out: they hold what the library must not show.
    """
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    story = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    return "".join([str(error), repr(error), *story.format()])
