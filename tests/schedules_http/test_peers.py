"""The client, h11 and http.client read the same answers alike."""

from __future__ import annotations

import random

import pytest

from tests.schedules_http.cases import ANSWERS, OK, malform
from tests.schedules_http.peers import compare


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_named_answers(answer: bytes) -> None:
    """All three accept each answer that is whole."""
    accepted, _ = compare(answer)
    assert accepted or answer is ANSWERS["interim answers"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\r\n" + OK + b"Content-Length: 0\r\n\r\n", "empty lines"),
        (b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n", "reason phrase"),
        (OK + b"Transfer-Encoding: identity\r\n\r\nabc", "identity"),
        (ANSWERS["chunks"][:-2] + b"Transfer-Encoding: x\r\n\r\n", "among trailers"),
        (OK + b"Content-Length: " + b"0" * 30 + b"\r\n\r\n", "zeros"),
    ],
)
def test_what_h11_refuses(answer: bytes, reason: str) -> None:
    """What the client accepts and h11 does not has a reason."""
    assert reason in compare(answer)[1]


@pytest.mark.parametrize("seed", range(2))
def test_malformed_answers(seed: int) -> None:
    """Of answers with some bytes changed, the client accepts only what h11 accepts alike."""
    rng = random.Random(seed)
    accepted = sum(compare(malform(rng))[0] for _ in range(300))
    assert accepted > 50
