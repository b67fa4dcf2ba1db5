"""From a user to identity headers: whole, or refused."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    ExtraMalformed,
    GroupMalformed,
    GroupReserved,
    IdentityError,
    ImpersonationDenied,
    ImpersonationMalformed,
    Internal,
    TooManyGroups,
    UidMalformed,
    UsernameMalformed,
    UsernameReserved,
)
from proxy.impersonation import (
    MAX_EXTRA,
    Policy,
    impersonate,
    impersonate_requested,
    verify_outgoing,
)
from proxy.limits import MAX_GROUPS
from proxy.rights import ORIGINAL_USER
from proxy.userinfo import CREDENTIAL_ID, UserInfo

OWN = "headlamp-auth-proxy:authenticated"
POLICY = Policy(OWN)
ALICE = impersonate(UserInfo("alice", groups=("a",)), POLICY)


def test_the_header_block_carries_the_user_the_groups_once_each_and_our_own() -> None:
    user = UserInfo("alice@example.com", groups=("b", "a", "b"))
    identity = impersonate(user, POLICY)
    assert identity.header == (
        b"Impersonate-User: alice@example.com\r\n"
        b"Impersonate-Group: b\r\nImpersonate-Group: a\r\n"
        b"Impersonate-Group: headlamp-auth-proxy:authenticated\r\n"
    )
    assert identity.groups == ("b", "a", OWN)


def test_a_name_is_one_header_whatever_others_would_split_it_at() -> None:
    names = ("a,b", "a|system:masters", "a;b", "%0d%0aa", "cn=a,ou=b", "a b", "=?utf-8?q?a?=")
    for name in names:
        identity = impersonate(UserInfo(name, groups=names), POLICY)
        lines = identity.header.decode().split("\r\n")
        assert lines[:-2] == [
            f"Impersonate-User: {name}",
            *(f"Impersonate-Group: {n}" for n in names),
        ]


def test_names_beyond_ascii_travel_as_utf8() -> None:
    assert "Impersonate-User: zoë\r\n".encode() in impersonate(UserInfo("zoë"), POLICY).header


MALFORMED = ["", " a", "a ", "\ta", "a\t", "a\nb", "a\r\nImpersonate-User: root", "\0", "a\x7f",
             "a\x85b", "a\ud800", "a\ufffd"]  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_name_that_would_not_arrive_as_it_is_is_refused(name: str) -> None:
    with pytest.raises(UsernameMalformed):
        impersonate(UserInfo(name), POLICY)
    with pytest.raises(GroupMalformed):
        impersonate(UserInfo("alice", groups=("fine", name)), POLICY)


@pytest.mark.parametrize(
    "name",
    ["system:masters", "system:kube-controller-manager", "system:serviceaccount:kube-system:x",
     "system:node:a", "kubeadm:cluster-admins", "eks:x", "aks:y", "corp:z"],
)  # fmt: skip
def test_reserved_names_are_refused_for_users_and_groups(name: str) -> None:
    policy = Policy(OWN, reserved_prefixes=(*POLICY.reserved_prefixes, "corp:"))
    with pytest.raises(UsernameReserved):
        impersonate(UserInfo(name), policy)
    with pytest.raises(GroupReserved):
        impersonate(UserInfo("alice", groups=(name,)), policy)


def test_a_reserved_group_may_be_allowed_but_never_for_a_user_and_never_masters() -> None:
    policy = Policy(OWN, allowed_reserved_groups=frozenset({"eks:ops", "system:masters"}))
    assert "eks:ops" in impersonate(UserInfo("alice", groups=("eks:ops",)), policy).groups
    with pytest.raises(UsernameReserved):
        impersonate(UserInfo("eks:ops"), policy)
    with pytest.raises(GroupReserved):
        impersonate(UserInfo("alice", groups=("system:masters",)), policy)


def test_system_authenticated_is_never_sent_even_where_it_is_allowed() -> None:
    policy = Policy(OWN, allowed_reserved_groups=frozenset({"system:authenticated"}))
    identity = impersonate(UserInfo("alice", groups=("system:authenticated", "a")), policy)
    assert identity.groups == ("a", OWN)
    assert b"system:authenticated" not in identity.header


def test_a_token_may_not_claim_our_own_group() -> None:
    with pytest.raises(GroupReserved):
        impersonate(UserInfo("alice", groups=(OWN,)), POLICY)


def test_groups_that_match_no_glob_are_dropped_before_anything_judges_them() -> None:
    policy = Policy(OWN, groups_allow=("k8s-*", "ops"))
    user = UserInfo("alice", groups=("k8s-admins", "system:masters", "", "ops", "K8S-x"))
    identity = impersonate(user, policy)
    assert identity.groups == ("k8s-admins", "ops", OWN)
    assert identity.dropped == 3


def test_too_many_groups_are_refused_after_the_filter() -> None:
    many = tuple(f"g{n}" for n in range(MAX_GROUPS + 1))
    with pytest.raises(TooManyGroups):
        impersonate(UserInfo("alice", groups=many), POLICY)
    allowed = Policy(OWN, groups_allow=("g1*",))
    assert len(impersonate(UserInfo("alice", groups=many), allowed).groups) <= MAX_GROUPS


def test_how_many_groups_are_too_many_is_a_setting() -> None:
    policy = Policy(OWN, max_groups=2)
    assert impersonate(UserInfo("alice", groups=("a", "b", "a")), policy).groups == ("a", "b", OWN)
    with pytest.raises(TooManyGroups):
        impersonate(UserInfo("alice", groups=("a", "b", "c")), policy)


@given(st.text(), st.lists(st.text()))
def test_whatever_the_claims_say_the_head_is_whole_or_there_is_none(
    username: str, groups: list[str]
) -> None:
    try:
        identity = impersonate(UserInfo(username, groups=tuple(groups)), POLICY)
    except IdentityError:
        return
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + identity.header + b"\r\n"
    verify_outgoing(head, identity)
    lines = identity.header.decode().split("\r\n")
    assert lines[0] == f"Impersonate-User: {username}"
    assert lines[1:-1] == [f"Impersonate-Group: {g}" for g in [*dict.fromkeys(groups), OWN]]


# --- An identity that a user asks for -------------------------------------------------------------


def test_a_requested_identity_is_whole_and_says_who_asked() -> None:
    wanted = UserInfo("bob", "7", ("dev",), {"example.com/Scope_s": ("v w", "x")})
    identity = impersonate_requested(wanted, ALICE, POLICY)
    assert identity.header == (
        b"Impersonate-User: bob\r\n"
        b"Impersonate-Group: dev\r\n"
        b"Impersonate-Group: headlamp-auth-proxy:authenticated\r\n"
        b"Impersonate-Uid: 7\r\n"
        b"Impersonate-Extra-example.com%2F%53cope%5Fs: v w\r\n"
        b"Impersonate-Extra-example.com%2F%53cope%5Fs: x\r\n"
        b"Impersonate-Extra-headlamp-auth-proxy.dev%2Foriginal-user: alice\r\n"
    )
    assert (identity.username, identity.groups, identity.original) == ("bob", ("dev", OWN), "alice")
    verify_outgoing(b"GET / HTTP/1.1\r\n" + identity.header + b"\r\n", identity)


@pytest.mark.parametrize("name", ["system:admin", "system:serviceaccount:a:b", "kubeadm:x"])
def test_reserved_names_are_for_the_review_to_judge(name: str) -> None:
    groups = (name, "system:nodes", OWN)
    assert impersonate_requested(UserInfo(name, groups=groups), ALICE, POLICY).groups == groups


@pytest.mark.parametrize(
    "wanted",
    [
        UserInfo("bob", groups=("a", "system:masters")),
        UserInfo("bob", extra={ORIGINAL_USER: ("root",)}),
        UserInfo("bob", extra={ORIGINAL_USER.upper(): ("root",)}),
    ],
)
def test_some_are_never_impersonated(wanted: UserInfo) -> None:
    with pytest.raises(ImpersonationDenied):
        impersonate_requested(wanted, ALICE, POLICY)


@pytest.mark.parametrize("name", ["", " bob", "bob\t", "b\rob", "b\nob", "b\x00", "\ufffd"])
@pytest.mark.parametrize("where", ["user", "group", "uid", "key", "value"])
def test_blank_and_control_characters_are_refused_all_the_same(name: str, where: str) -> None:
    if where == "uid" and not name:
        return  # that is none
    wanted = {
        "user": UserInfo(name),
        "group": UserInfo("bob", groups=(name,)),
        "uid": UserInfo("bob", name),
        "key": UserInfo("bob", extra={name: ("v",)}),
        "value": UserInfo("bob", extra={"k": (name,)}),
    }[where]
    with pytest.raises(ImpersonationMalformed):
        impersonate_requested(wanted, ALICE, POLICY)


@given(
    st.builds(
        UserInfo,
        st.text(),
        st.text(),
        st.lists(st.text()).map(tuple),
        st.dictionaries(st.text(), st.lists(st.text()).map(tuple)),
    )
)
def test_whatever_is_asked_for_the_head_is_whole_or_there_is_none(wanted: UserInfo) -> None:
    try:
        identity = impersonate_requested(wanted, ALICE, POLICY)
    except (ImpersonationMalformed, ImpersonationDenied):
        return
    verify_outgoing(b"GET / HTTP/1.1\r\n" + identity.header + b"\r\n", identity)
    lines = [line.partition(": ") for line in identity.header.decode().split("\r\n")[:-1]]
    got = {
        (unquote(name.removeprefix("Impersonate-Extra-").lower()), value)
        for name, _, value in lines
        if name.startswith("Impersonate-Extra-")
    }
    asked = {(key, value) for key, values in wanted.extra.items() for value in values}
    assert got == asked | {(ORIGINAL_USER, "alice")}


# --- The last look --------------------------------------------------------------------------------

GOOD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
    + ALICE.header
    + b"Accept: */*\r\n\r\n"
)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GOOD.replace(ALICE.header, b""), id="no identity"),
        pytest.param(GOOD.replace(b"Impersonate-User: alice\r\n", b""), id="no user"),
        pytest.param(GOOD.replace(b"alice", b""), id="empty user"),
        pytest.param(GOOD.replace(b"alice", b"bob"), id="another user"),
        pytest.param(GOOD.replace(b"Accept: */*", b"impersonate-user: root"), id="a second user"),
        pytest.param(
            GOOD.replace(b"Accept: */*", b"Impersonate-Group: system:masters"), id="one more group"
        ),
        pytest.param(GOOD.replace(b"Accept: */*", b"Impersonate_Uid: 0"), id="an underscore"),
        pytest.param(
            GOOD.replace(b"Accept: */*", b"Authorization: Bearer u"), id="a second credential"
        ),
        pytest.param(GOOD + b"GET / HTTP/1.1\r\n\r\n", id="a second head"),
        pytest.param(GOOD[:-2], id="no end"),
    ],
)
def test_a_head_without_exactly_this_identity_never_leaves(head: bytes) -> None:
    verify_outgoing(GOOD, ALICE)
    with pytest.raises(Internal):
        verify_outgoing(head, ALICE)


FOO = "example.org/foo"
SENDING = Policy(OWN, send_credential_id=True)


def test_a_uid_and_extra_have_headers_of_their_own() -> None:
    user = UserInfo("alice", uid="u1", extra={FOO: ("a", "b c"), "example.org/a%b": ("x",)})
    identity = impersonate(user, POLICY)
    assert identity.header.decode().split("\r\n") == [
        "Impersonate-User: alice",
        f"Impersonate-Group: {OWN}",
        "Impersonate-Uid: u1",
        "Impersonate-Extra-example.org%2Ffoo: a",
        "Impersonate-Extra-example.org%2Ffoo: b c",
        "Impersonate-Extra-example.org%2Fa%25b: x",
        "",
    ]
    assert (identity.uid, identity.extra[0]) == ("u1", (FOO, "a"))


def test_the_credential_s_id_is_sent_only_where_that_is_switched_on() -> None:
    user = UserInfo("alice", extra={CREDENTIAL_ID: ("JTI=1",)})
    assert b"Extra" not in impersonate(user, POLICY).header
    name = b"Impersonate-Extra-authentication.kubernetes.io%2Fcredential-id: JTI=1\r\n"
    assert name in impersonate(user, SENDING).header


def test_a_credential_s_id_that_is_not_sent_keeps_nobody_out() -> None:
    user = UserInfo("alice", extra={CREDENTIAL_ID: ("JTI=a\nb",)})
    impersonate(user, POLICY)
    with pytest.raises(ExtraMalformed):
        impersonate(user, SENDING)


@pytest.mark.parametrize("text", [" a", "a\t", "a\r\nImpersonate-User: root", "\0", "\ufffd"])
def test_a_uid_or_extra_that_would_arrive_as_another_is_refused(text: str) -> None:
    with pytest.raises(UidMalformed):
        impersonate(UserInfo("alice", uid=text), POLICY)
    with pytest.raises(ExtraMalformed):
        impersonate(UserInfo("alice", extra={FOO: ("good", text)}), POLICY)
    with pytest.raises(ExtraMalformed):
        impersonate(UserInfo("alice", extra={text: ("good",)}), POLICY)


@pytest.mark.parametrize("extra", [{FOO: ("",)}, {"": ("a",)}, {"example.org/Foo": ("a",)}])
def test_extra_is_neither_empty_nor_in_upper_case(extra: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ExtraMalformed):
        impersonate(UserInfo("alice", extra=extra), POLICY)


def test_too_much_extra_is_refused() -> None:
    values = tuple(map(str, range(MAX_EXTRA + 1)))
    impersonate(UserInfo("alice", extra={FOO: values[1:]}), POLICY)
    with pytest.raises(ExtraMalformed, match=str(MAX_EXTRA)):
        impersonate(UserInfo("alice", extra={FOO: values}), POLICY)


WHOLE = impersonate(UserInfo("alice", uid="u1", extra={FOO: ("a", "b")}), POLICY)
WHOLE_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n" + WHOLE.header + b"Accept: */*\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(WHOLE_HEAD.replace(b"Impersonate-Uid: u1\r\n", b""), id="no uid"),
        pytest.param(WHOLE_HEAD.replace(b"Accept: */*", b"Impersonate-Uid: u2"), id="two uids"),
        pytest.param(
            WHOLE_HEAD.replace(b"Accept: */*", b"Impersonate-Extra-a: b"), id="one more extra"
        ),
        pytest.param(WHOLE_HEAD.replace(b"2Ffoo: b", b"2Ffoo: c"), id="another value"),
    ],
)
def test_a_head_with_another_uid_or_extra_never_leaves(head: bytes) -> None:
    verify_outgoing(WHOLE_HEAD, WHOLE)
    with pytest.raises(Internal):
        verify_outgoing(head, WHOLE)


def test_lines_of_one_kind_do_not_stand_in_for_those_of_another() -> None:
    """Even a header block that was made wrong is seen: it is not trusted either."""
    header = WHOLE.header.replace(b"Impersonate-Uid: u1", b"Impersonate-Extra-uid: u1")
    forged = replace(WHOLE, header=header)
    with pytest.raises(Internal):
        verify_outgoing(WHOLE_HEAD.replace(WHOLE.header, header), forged)
