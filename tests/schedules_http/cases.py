"""Cases of the model: the named ones, the cuts of an answer, and any number of them from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.schedules_http.exchange import Case, Take
from tests.schedules_http.model import Mark, Script

__all__ = ["ANSWERS", "body_of", "cuts", "generate", "malform", "plain"]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: A whole answer that no request asked for.
EVIL = OK + b"Content-Length: 4\r\n\r\nEVIL"


def body_of(number: int, size: int = 20) -> bytes:
    """Return a body that no other answer has."""
    return (b"<%d>" % number * size)[:size]


def plain(number: int, size: int = 20, extra: bytes = b"") -> bytes:
    """Return a well-formed answer."""
    return OK + b"Content-Length: %d\r\n%s\r\n%s" % (size, extra, body_of(number, size))


def chunked(
    body: bytes, *, size: int = 7, ext: bytes = b"", trailers: bytes = b"", head: bytes = CHUNKED
) -> bytes:
    """Return an answer in chunks."""
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    return (
        head
        + b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), ext, chunk) for chunk in chunks)
        + b"0%s\r\n%s\r\n" % (ext, trailers)
    )


#: Answers that are whole, one of each kind.
ANSWERS = {
    "length": plain(1),
    "empty": plain(1, 0),
    "chunks": chunked(body_of(1)),
    "chunks with trailers": chunked(body_of(1), ext=b";a=b", trailers=b"X: y\r\nZ:\r\n"),
    "chunks without a byte": CHUNKED + b"0\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2 + plain(1),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\nETag: x\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    "line ends in the body": OK + b"Content-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n",
}


def cuts(answer: bytes, *, then: tuple[Mark, ...]) -> Iterator[Script]:
    """Yield scripts that send the answer, with `then` after each number of its bytes."""
    for at in range(len(answer) + 1):
        yield (Mark.REQUEST, answer[:at], *then, answer[at:])


# --- by chance -------------------------------------------------------------------------------------------

_LENGTHS = [b"0", b"5", b"12", b"-1", b"+5", b"5, 5", b"5 5", b"0x5", b"1_0", b"", b"\xb2",
            b"00005", b"9" * 19, b"9" * 40, b"18446744073709551616"]  # fmt: skip
_FIELDS = [
    b"X: y", b"X:", b"X : y", b": y", b"X", b"X: a\r\n b", b"X: a\x00b", b"X: a\rb", b"X: a\nb",
    b"X: \x01", b"X: \xe4", b"\xe4: x", b"X(: y", b" X: y", b"Connection: close",
    b"Connection: keep-alive", b"Connection: x, close", b"Connection: close, keep-alive",
    b"Connection: upgrade\r\nUpgrade: h2c", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: x", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5", b"Content-Length: 4",
    b"X: " + b"x" * 70_000, b"\r\n".join(b"X-%d: y" % n for n in range(300)),
]  # fmt: skip
_STATUS_LINES = [
    OK, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.1 206 P\r\n",
    b"HTTP/1.1 503 No\r\n", b"HTTP/1.1 200 OK\n", b"HTTP/1.1  200 OK\r\n", b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 20 OK\r\n", b"HTTP/1.1 2000 OK\r\n", b"http/1.1 200 OK\r\n", b"HTTP/0.9 200 OK\r\n",
    b"HTTP/1.1 101 Up\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.1 304 No\r\n", b"\r\n" + OK,
    b"HTTP/1.1 200 O\x00K\r\n", b"HTTP/1.1 99 OK\r\n", b"HTTP/1.1 200 O\rK\r\n",
]  # fmt: skip
_INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 102 Wait\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nLink: </x>\r\nLink: </y>\r\n\r\n",
    b"HTTP/1.1 199 Wait\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 110 Wait\r\nX: y\r\n\r\n",
    b"HTTP/1.1 150 Go\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 Go\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Go\r\nConnection: close\r\n\r\n",
]  # fmt: skip
_CHUNK_LINES = [
    b"5", b"05", b"000000000000000000005", b"5 ", b"5;a", b'5;a="b"', b"5;a\nb", b"5;a\rb", b"+5",
    b"-5", b"0x5", b"0_5", b"", b"g", b"5" * 17, b"ffffffffffffffff", b"4", b"6", b"5\n", b"5;\x00",
]  # fmt: skip
_TRAILERS = [
    b"", b"", b"X: y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"bad\r\n",
    b" fold\r\n", b"Connection: close\r\n", b"X: y\r\n" * 100, b"X: y\n", b"\x00: y\r\n",
]  # fmt: skip
_SURPLUS = [EVIL, b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"x", b"\x00", b"HTTP/1.1 ", EVIL[:-2]]


def generate(rng: random.Random) -> Case:
    """Return a case by chance."""
    scripts = [_script(rng) for _ in range(rng.randint(1, 3))]
    count = rng.randint(2, 4)
    takes = [Take.WHOLE if rng.random() < 0.5 else rng.choice(list(Take)) for _ in range(count)]
    hurried = frozenset(number for number in range(count) if rng.random() < 0.2)
    return Case(scripts, takes, hurried, hooked=rng.random() < 0.1)


def _script(rng: random.Random) -> Script:
    steps: list[bytes | Mark] = []
    for number in range(rng.randint(1, 3)):
        if rng.random() < 0.95:
            steps.append(Mark.REQUEST)
        answer = _answer(rng, number)
        if rng.random() < 0.1:
            answer = answer[: rng.randint(0, len(answer))]
        if rng.random() < 0.15:
            surplus = rng.choice(_SURPLUS)
            steps += [*_segments(rng, answer), surplus] if rng.random() < 0.5 else [
                *_segments(rng, answer + surplus)
            ]  # fmt: skip
        else:
            steps += _segments(rng, answer)
    if rng.random() < 0.4:
        steps.append(rng.choice((Mark.END, Mark.CLOSE, Mark.RESET, Mark.REFUSE)))
    if rng.random() < 0.05:
        steps.insert(rng.randint(0, len(steps)), rng.choice(list(Mark)))
    return tuple(steps)


def _segments(rng: random.Random, answer: bytes) -> list[bytes | Mark]:
    """Cut an answer anywhere."""
    if rng.random() < 0.5 or not answer:
        return [answer]
    steps: list[bytes | Mark] = []
    points = sorted({rng.randint(0, len(answer)) for _ in range(rng.randint(1, 6))})
    for start, end in zip([0, *points], [*points, len(answer)]):
        steps += [answer[start:end], Mark.PAUSE]
    return steps[:-1]


def _answer(rng: random.Random, number: int) -> bytes:
    size = rng.choice((0, 5, 5, 5, 30, 30, 30, 30, 30, 2_000, 2_000, 20_000))
    body = body_of(number, size)
    kind = rng.random()
    if kind < 0.35:
        return plain(number, size)
    if kind < 0.5:
        return chunked(body, size=rng.choice((3, 900)), trailers=rng.choice(_TRAILERS))
    if kind < 0.6:
        return b"".join(rng.choices(_INTERIM[:3], k=rng.randint(1, 3))) + plain(number, size)
    if kind < 0.65:
        return rng.choice(_INTERIM) + rng.choice((b"", body)) + plain(number, size)
    if kind < 0.7:
        return rng.choice(list(ANSWERS.values()))
    if kind < 0.8:
        lines = rng.choices(_CHUNK_LINES, k=rng.randint(1, 3))
        chunks = b"".join(b"%s\r\nabcde\r\n" % line for line in lines)
        return CHUNKED + chunks + b"0\r\n" + rng.choice(_TRAILERS) + b"\r\n"
    fields = rng.choices(_FIELDS, k=rng.randint(0, 2))
    if rng.random() < 0.7:
        length = b"%d" % size if rng.random() < 0.6 else rng.choice(_LENGTHS)
        fields.insert(rng.randint(0, len(fields)), b"Content-Length: " + length)
    status = OK if rng.random() < 0.5 else rng.choice(_STATUS_LINES)
    coded = rng.choice((body, chunked(body, head=b"")))
    return status + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + coded


def malform(rng: random.Random) -> bytes:
    """Return an answer by chance, with up to two bytes changed, removed or added."""
    answer = _answer(rng, 0)
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(answer))
        kind = rng.randrange(3)
        byte = bytes([rng.choice(b"\r\n \t:;,05a\x00\x7f\xff")])
        answer = answer[:at] + (byte if kind else b"") + answer[at + (kind != 1) :]
    return answer
