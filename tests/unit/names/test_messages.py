"""The two dialects of the portal: what goes out comes back as it was, and nothing is guessed."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._protocol.messages import (
    MalformedAnswer,
    is_page,
    parse,
    read_boolean,
    read_integer,
    read_text,
    render,
    render_call,
)

ODD_TEXTS = [
    *("007", "1.50", "true", "null", "-0", " blanks ", "\ttab", "two\nlines", "cr\r", ""),
    *("100% +#?", "a&b<c>\"'", "r\u00e9sum\u00e9", "re\u0301sume\u0301", "\U0001f4a7", "\ufeffbom"),
]

#: Texts that XML can hold.
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r")
)
names = st.text(st.sampled_from("abcXYZ01"), min_size=1, max_size=8)
values = st.recursive(
    texts | st.none(),
    lambda inner: (
        st.lists(inner.filter(lambda value: value is not None), max_size=4)
        | st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_text_stays_text(text):
    """A name that looks like a number, a boolean or blanks is a text in both dialects."""
    assert parse(render(text).encode()) == text
    assert parse(json.dumps(text).encode()) == text


@given(values.filter(lambda value: value is not None))
def test_what_is_rendered_is_parsed(value):
    """Objects, lists, nulls and texts come back as they were."""
    assert parse(render(value).encode("utf-8")) == value


@given(texts)
def test_other_parsers_read_the_same(text):
    """The standard library's parser reads the same text out of what is rendered."""
    assert (ElementTree.fromstring(render(text)).text or "") == text


def test_call():
    """A call names its type, its method and its parameter, the class of an object with it."""
    body = render_call("fetchResources", {"$class": "FetchResourcesParam", "depth": 1, "x": True})
    assert body == (
        b'<obj><att id="type"><val>user-defined</val></att>'
        b'<att id="name"><val>fetchResources</val></att>'
        b'<att id="param"><obj class="FetchResourcesParam"><att id="depth"><val>1</val></att>'
        b'<att id="x"><val>true</val></att></obj></att></obj>'
    )


@pytest.mark.parametrize("text", ["\0", "\x1b", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_refused(text):
    """A control character would make a document that the portal cannot read."""
    with pytest.raises(ValueError, match="control character"):
        render({"name": text})


def test_attribute_without_content_is_null():
    """An attribute without content is null, one with an empty value is an empty text."""
    assert parse(b'<obj><att id="a"/><att id="b"> </att><att id="c"><val/></att></obj>') == {
        "a": None,
        "b": None,
        "c": "",
    }


MALFORMED = {
    "nothing": b"",
    "blanks": b" \r\n ",
    "truncated JSON": b'{"items": [{"name": "a',
    "truncated XML": b'<obj><att id="a"><val>te',
    "words": b"Service unavailable",
    "entities": b'<!DOCTYPE x [<!ENTITY a "aaaa">]><val>&a;</val>',
    "document type": b"<!DOCTYPE val SYSTEM 'file:///etc/passwd'><val/>",
    "two documents": b"<val>a</val><val>b</val>",
    "two values": b'<obj><att id="a"><val>1</val><val>2</val></att></obj>',
    "other elements": b"<multistatus><response/></multistatus>",
    "text in an object": b"<obj>text</obj>",
    "element in a value": b"<val><val/></val>",
    "not a number": b'{"a": NaN}',
    "a number of 5,000 digits": b'{"a": ' + b"1" * 5000 + b"}",
    "deep JSON": b"[" * 100_000,
    "deep XML": b"<list>" * 100_000,
    "many values": b"[" + b"0," * 1_000_001 + b"0]",
    "many elements": b"<list>" + b"<val/>" * 1_000_001 + b"</list>",
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><val/>',
    "not UTF-8": b"<val>\xff</val>",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers(body):
    """What is neither JSON nor the portal's XML, or would take too much memory, is refused."""
    with pytest.raises(MalformedAnswer) as caught:
        parse(body)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf{}", b"\n {}", b'<?xml version="1.0"?>\n<obj/>'])
def test_beginnings(body):
    """A byte order mark, blanks and an XML declaration may come before a value."""
    assert parse(body) == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [("5", 5), (5, 5), (5.0, 5), (" 5 ", 5), (None, None), ("", None), (-1, None), ("-1", None)],
)
def test_integers(value, number):
    """XML tells a number as text, and -1 stands for none."""
    assert read_integer(value) == number


@pytest.mark.parametrize(
    "value", ["a", "1.5", 1.5, True, [], {}, "-5", -5, 2**63, "9" * 30, "\u0665", "1_0"]
)
def test_what_is_not_an_integer(value):
    """Anything else than an integer in range is refused, not rounded or guessed."""
    with pytest.raises(MalformedAnswer):
        read_integer(value)


def test_booleans_and_texts():
    """A boolean is true or false in either dialect; a text is only a text."""
    assert [read_boolean(each) for each in (True, "true", "False", None)] == [
        True,
        True,
        False,
        None,
    ]
    for value in (1, "yes", ""):
        with pytest.raises(MalformedAnswer):
            read_boolean(value)
    for value in (7, True, []):
        with pytest.raises(MalformedAnswer):
            read_text(value)


@pytest.mark.parametrize(
    ("content_type", "body", "page"),
    [
        ("text/html; charset=UTF-8", b"", True),
        ("application/xhtml+xml", b"<a/>", True),
        ("application/json", b"\n<!DOCTYPE HTML><p>sign in", True),
        ("text/plain", b"<!-- x -->\n<HTML>", True),
        ("text/xml", b"<val>html</val>", False),
        ("", b"<obj/>", False),
        ("", b'{"a": "<html>"}', False),
    ],
)
def test_pages(content_type, body, page):
    """A web page is known by its type, or by how it begins."""
    assert is_page(content_type, body) is page
