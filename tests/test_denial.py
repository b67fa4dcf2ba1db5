"""The deny list: whom it keeps out, and that a slip of the pen never makes it say less."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.denial import Bearer, DenyList, InvalidDenyList
from proxy.deny_list import parse_deny_list

ISSUER = "https://idp.tail1234.ts.net"
ALICE = Bearer("alice@example.com", ("ops", "dev"), ISSUER, "userid:1", "0e1f")

EVERYTHING = """
# at the top
users: [alice@example.com, "bob@example.com"]
groups:
  - contractors
subjects:
  - userid:5738291046173829
  - {issuer: https://idp.tail1234.ts.net, subject: "userid:7"}
token-ids: [12345678901234567890123456789012, 0x1F, no]
"""


def test_the_whole_format() -> None:
    assert parse_deny_list(EVERYTHING.encode()) == DenyList(
        users=frozenset({"alice@example.com", "bob@example.com"}),
        groups=frozenset({"contractors"}),
        subjects=frozenset({("", "userid:5738291046173829"), (ISSUER, "userid:7")}),
        token_ids=frozenset({"12345678901234567890123456789012", "0x1F", "no"}),
    )


def test_json_is_as_good() -> None:
    document = b'{"users": ["alice"], "subjects": [{"issuer": "https://a", "subject": "1"}]}'
    denied = parse_deny_list(document)
    assert denied == DenyList(users=frozenset({"alice"}), subjects=frozenset({("https://a", "1")}))


@pytest.mark.parametrize(
    "document", ["", "# nobody\n", "---\n", "{}", "null", "users:\n", "users: []", "users: null",
                 "users:\n  # - alice\ngroups: ~"]
)  # fmt: skip
def test_nothing_at_all_denies_nobody(document: str) -> None:
    assert parse_deny_list(document.encode()) == DenyList()


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("user: [alice]", "line 1: 'user' is no key here; the keys are users, groups, subjects"),
        ("users: [a]\ngroups: [b]\nusers: [c]", "line 3: users is given twice"),
        ("users: alice", "line 1: must be a list"),
        ("users: {alice: true}", "line 1: must be a list"),
        ("users:\n- [alice]", "line 2: must be one text"),
        ("users: [\"*\"]", "looks like a pattern"),
        ("groups: [dev-*]", "looks like a pattern"),
        ("users: [\"alice \"]", "ends with a blank"),
        ("users: [\"\"]", "is empty"),
        ("users:\n-\n", "is empty"),
        ("- alice", "must be a mapping"),
        ("alice", "must be a mapping"),
        ("subjects: [{issuer: https://a}]", "names no subject"),
        ("subjects: [{sub: a}]", "'sub' is no key here; the keys are issuer, subject"),
        ("users: [alice", "is neither YAML nor JSON"),
        ("users: [a]\n---\nusers: [b]", "is neither YAML nor JSON"),
        ("users: &a [*a]", "must be one text"),
        ("<<: {users: [a]}", "is no key here"),
        ("[" * 1_000_000, "is nested too deeply"),
        ("{a: " * 100_000, "is nested too deeply"),
        ("users: [\x00]", "is neither YAML nor JSON"),
    ],
)  # fmt: skip
def test_what_may_not_mean_what_was_meant_is_an_error(document: str, problem: str) -> None:
    with pytest.raises(InvalidDenyList) as refused:
        parse_deny_list(document.encode())
    assert problem in str(refused.value)


@given(st.binary() | st.text(alphabet="users:[]{},- \n#*&!\"'|>?%@`a").map(str.encode))
def test_whatever_is_in_the_file_there_is_a_list_or_an_error(document: bytes) -> None:
    with contextlib.suppress(InvalidDenyList):
        assert parse_deny_list(document).size >= 0


@pytest.mark.parametrize(
    ("document", "denied"),
    [
        ("users: [alice@example.com]", True),
        ("users: [Alice@example.com]", False),
        ("groups: [dev]", True),
        ("groups: [alice@example.com]", False),
        ("subjects: [userid:1]", True),
        ("subjects: [{issuer: https://idp.tail1234.ts.net, subject: userid:1}]", True),
        ("subjects: [{issuer: https://another, subject: userid:1}]", False),
        ("token-ids: [0e1f]", True),
        ("token-ids: [userid:1]", False),
        ("", False),
    ],
)
def test_each_kind_of_entry_is_about_its_own_claim(document: str, denied: bool) -> None:
    assert parse_deny_list(document.encode()).denies(ALICE) is denied


def test_what_a_token_does_not_say_matches_nothing() -> None:
    denied = parse_deny_list(EVERYTHING.encode())
    assert not denied.denies(Bearer("carol@example.com"))
