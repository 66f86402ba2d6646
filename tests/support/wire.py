"""A signed URL as requests hold it, and what an error must not tell of it."""

from __future__ import annotations

import traceback

QUERY = "X-Amz-Signature=c0ffee&X-Amz-Credential=deadbeef"


PATH = f"/bucket/blocks/7f?{QUERY}"


LIMIT = 10_000


def everything_said(error: BaseException) -> str:
    """All that a traceback, a log or a repr could show of an error and of what it came from."""
    texts = traceback.format_exception(type(error), error, error.__traceback__)
    seen: list[object] = []
    queue: list[object] = [error]
    while queue:
        current = queue.pop()
        if any(current is known for known in seen):
            continue
        seen.append(current)
        texts += [str(current), repr(current)]
        if isinstance(current, BaseException):
            queue += [
                current.__cause__,
                current.__context__,
                *current.args,
                *vars(current).values(),
            ]
    return "\n".join(texts)


def assert_hidden(error: BaseException) -> None:
    """Nothing of the URL's query can be reached from the error."""
    said = everything_said(error)
    for secret in ("c0ffee", "deadbeef", "X-Amz"):
        assert secret not in said
