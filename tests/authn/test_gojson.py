"""JSON as Go reads it: the differences from Python's reader, one by one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.authn.gojson import Members, fold, parse_object


@pytest.mark.parametrize(
    ("document", "members"),
    [
        (b"{}", []),
        (b' \t\r\n{"a": 1}\n', [("a", 1)]),
        (b'{"a":1,"b":2,"a":3}', [("a", 1), ("b", 2), ("a", 3)]),
        (b'{"a":{"x":1,"x":2}}', [("a", {"x": 2})]),
        (b'{"a":{"b":{}},"c":[{"d":1}]}', [("a", {"b": {}}), ("c", [{"d": 1}])]),
        (b'{"":null}', [("", None)]),
        (b'{"a":1e3,"b":-0,"c":0.5}', [("a", 1000.0), ("b", 0), ("c", 0.5)]),
        (b'{"a":"\xff"}', [("a", "\ufffd")]),
        (b'{"a":"\xed\xa0\x80"}', [("a", "\ufffd" * 3)]),
        (b'{"a":"\\ud800"}', [("a", "\ufffd")]),
        (b'{"a":"\\ud83d\\ude00"}', [("a", "\U0001f600")]),
        (b'{"a":["\\udc00"],"b":{"c":"\\udc00"}}', [("a", ["\ufffd"]), ("b", {"c": "\ufffd"})]),
        (b'{"\\ud800":1,"\xfe":2}', [("\ufffd", 1), ("\ufffd", 2)]),
        (b'{"a":"\\u0000"}', [("a", "\0")]),
        ('{"a":"é"}'.encode(), [("a", "é")]),
    ],
)
def test_an_object_is_its_members_in_order(document: bytes, members: Members) -> None:
    assert parse_object(document) == members


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"5",
        b"[]",
        b'"{}"',
        b"{",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":0x1}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        b'{"a":"\\x41"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'\x0c{"a":1}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
    ],
    ids=lambda document: repr(document[:20]),
)
def test_what_is_not_one_json_object_is_a_value_error(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the one way to fail
        parse_object(document)


@given(st.binary(max_size=200) | st.binary().map(lambda raw: b'{"a":"' + raw + b'"}'))
def test_whatever_comes_is_an_object_or_a_value_error(document: bytes) -> None:
    try:
        members = parse_object(document)
    except ValueError:
        return
    json.dumps(members, ensure_ascii=False).encode()  # no lone surrogate is left


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_what_was_written_is_read(value: dict[str, object]) -> None:
    assert dict(parse_object(json.dumps(value).encode())) == value


@pytest.mark.parametrize("name", ["iss", "ISS", "Iss", "i\u017fs", "i\u017f\u017f", "IS\u017f"])
def test_names_meet_a_field_in_any_case_and_with_the_long_s(name: str) -> None:
    assert fold(name) == "iss"


def test_the_kelvin_sign_is_a_k() -> None:
    assert fold("to\u212aen") == "token"


@pytest.mark.parametrize("name", ["is", "isss", "\u0131ss", "i\u00df", " iss", "iss\0"])
def test_names_that_only_look_alike_do_not(name: str) -> None:
    assert fold(name) != "iss"
