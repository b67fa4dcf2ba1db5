"""What Go's encoding/json reads, and how; where Python's reader would say otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.authn.gojson import fold, parse_object


@pytest.mark.parametrize(
    ("document", "members"),
    [
        (b"{}", []),
        (b' \t\r\n{"a": 1}\n', [("a", 1)]),
        (b'{"a":1,"a":2}', [("a", 1), ("a", 2)]),
        (b'{"a":{"x":1,"x":2}}', [("a", {"x": 2})]),
        (b'{"b":{"c":1},"a":[{"d":null}]}', [("b", {"c": 1}), ("a", [{"d": None}])]),
        (b'{"a":"\\u0000"}', [("a", "\0")]),
        (b'{"a":"\\ud83d\\ude00"}', [("a", "\U0001f600")]),
        ('{"ä":"ö"}'.encode(), [("ä", "ö")]),
    ],
    ids=str,
)
def test_members_keep_their_order_and_their_duplicates(
    document: bytes, members: list[tuple[str, Any]]
) -> None:
    assert parse_object(document) == members


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"\xff", "\ufffd"),
        (b"a\xe2\x82z", "a\ufffd\ufffdz"),  # one for each byte of a cut character
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate written as UTF-8
        (b"\\ud800", "\ufffd"),
        (b"\\ud800\\u0041", "\ufffdA"),
        (b"\\udc00\\ud800", "\ufffd\ufffd"),
        (b"\\ud800\\ud83d\\ude00", "\ufffd\U0001f600"),
    ],
    ids=str,
)
def test_what_is_not_unicode_becomes_the_replacement_character(text: bytes, read: str) -> None:
    assert parse_object(b'{"a":"%s"}' % text) == [("a", read)]
    assert parse_object(b'{"a":["%s"]}' % text) == [("a", [read])]
    assert parse_object(b'{"a":{"%s":1}}' % text) == [("a", {read: 1})]
    assert parse_object(b'{"%s":1}' % text) == [(read, 1)]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"1",
        b"{",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",  # a byte order mark
        '{"a":1}'.encode("utf-16"),
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":' + b"9" * 5_000 + b"}",
    ],
    ids=lambda document: str(document[:20]),
)
def test_everything_else_is_a_value_error_and_nothing_worse(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is one is all that is promised
        parse_object(document)


@pytest.mark.parametrize("name", ["iss", "ISS", "Iss", "i\u017f\u017f", "I\u017fs"])
def test_field_names_fold_as_gos_do(name: str) -> None:
    assert fold(name) == "iss"


@pytest.mark.parametrize("name", ["\u0131ss", "i\xdf", "\u0130ss", "\uff49\uff53\uff53", "iss "])
def test_field_names_fold_no_further(name: str) -> None:
    assert fold(name) != "iss"


def test_the_kelvin_sign_folds_to_a_letter() -> None:
    assert fold("\u212aey") == "key"
