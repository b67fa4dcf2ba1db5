"""Verified tokens: never believed longer, or by anybody else, than they should be."""

from __future__ import annotations

import hashlib

import pytest
from cachetools import LRUCache
from hypothesis import given
from hypothesis import strategies as st

from proxy.authn import cache
from proxy.authn.cache import MAX_AGE, MAX_ENTRIES, TokenCache
from tests.authn.tokens import ISSUER, NOW, key_set
from tests.issuer import rsa_key

KEYS = key_set(rsa_key(0))
KEY = KEYS.keys[0].identity


def put(
    held: TokenCache[str],
    token: bytes = b"token",
    value: str = "alice",
    *,
    expires_at: float = NOW + 60,
    issuer: str = ISSUER,
    key: str = KEY,
) -> bytes:
    name = held.key(token)
    held.put(name, value, expires_at=expires_at, issuer=issuer, key_identity=key, now=NOW)
    return name


def test_a_token_is_found_again_and_no_other_is() -> None:
    held: TokenCache[str] = TokenCache()
    put(held)
    assert held.get(held.key(b"token"), NOW) == "alice"
    assert held.get(held.key(b"token "), NOW) is None


def test_a_token_is_named_by_a_key_of_this_process_alone() -> None:
    one: TokenCache[str] = TokenCache()
    other: TokenCache[str] = TokenCache()
    assert one.key(b"token") == one.key(b"token")
    assert one.key(b"token") != other.key(b"token")
    assert one.key(b"token") != hashlib.sha256(b"token").digest()
    assert len(one.key(b"token")) == 32


def test_a_token_itself_is_never_kept() -> None:
    held: TokenCache[str] = TokenCache()
    put(held, b"very-secret-token")
    assert "very-secret" not in repr(list(held._entries.items()))


@pytest.mark.parametrize(
    ("expires_at", "believed_until"),
    [(NOW + 60, NOW + 60), (NOW + MAX_AGE, NOW + MAX_AGE), (NOW + 86_400, NOW + MAX_AGE)],
)
def test_an_entry_dies_with_its_token_and_is_never_old(
    expires_at: float, believed_until: float
) -> None:
    held: TokenCache[str] = TokenCache()
    name = put(held, expires_at=expires_at)
    assert held.get(name, believed_until) == "alice"
    assert held.get(name, believed_until + 0.001) is None
    assert held.get(name, NOW) is None  # gone for good, also when a clock is set back
    assert len(held) == 0


def test_a_withdrawn_key_takes_its_tokens_along() -> None:
    held: TokenCache[str] = TokenCache()
    names = {
        "kept": put(held, b"1"),
        "withdrawn": put(held, b"2", key=key_set(rsa_key(1)).keys[0].identity),
        "other issuer": put(held, b"3", issuer="https://other", key="theirs"),
    }
    held.keep_only(ISSUER, KEYS)
    found = {what for what, name in names.items() if held.get(name, NOW) is not None}
    assert found == {"kept", "other issuer"}


def test_a_key_that_is_only_renamed_keeps_its_tokens() -> None:
    held: TokenCache[str] = TokenCache()
    name = put(held)
    held.keep_only(ISSUER, key_set(rsa_key(0).jwk(kid="renamed")))
    assert held.get(name, NOW) == "alice"


def test_the_least_recently_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ENTRIES == 10_000
    monkeypatch.setattr(cache, "MAX_ENTRIES", 3)
    held: TokenCache[str] = TokenCache()
    names = [put(held, b"%d" % number) for number in range(3)]
    held.get(names[0], NOW)
    names.append(put(held, b"3"))
    assert len(held) == 3
    assert [held.get(name, NOW) is not None for name in names] == [True, False, True, True]


@given(
    st.lists(
        st.sampled_from(["user 0", "user 1", "user 2", "keep only", "clear", "later"]), max_size=40
    )
)
def test_what_was_found_is_what_would_be_found_again(steps: list[str]) -> None:
    held: TokenCache[str] = TokenCache()
    held._entries = LRUCache(2)  # so that one makes room for another
    now = NOW
    for step in steps:
        name = held.key(step.encode())
        if step == "keep only":
            held.keep_only(ISSUER, KEYS)
        elif step == "clear":
            held.clear()
        elif step == "later":
            now += 60
        elif held.get(name, now) is None:
            held.put(name, step, expires_at=now + 90, issuer=ISSUER, key_identity=step, now=now)
        entries = dict(held._entries.items())  # which counts as use of all, in the same order
        assert held.found.items() <= entries.items()


def test_what_makes_room_is_found_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)
    held: TokenCache[str] = TokenCache()
    first = put(held, b"1")
    held.get(first, NOW)
    assert held.found[first].value == "alice"
    put(held, b"2")
    put(held, b"3")
    assert first not in held.found
    assert held.get(first, NOW) is None


def test_what_has_ended_is_found_no_more_also_when_a_clock_is_set_back() -> None:
    held: TokenCache[str] = TokenCache()
    name = put(held, expires_at=NOW + 60)
    held.get(name, NOW)
    held.get(name, NOW + 61)
    assert name not in held.found
