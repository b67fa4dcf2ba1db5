"""The name of each request."""

from __future__ import annotations

import uuid

from proxy.http.audit_id import new_audit_id


def test_they_are_what_kube_apiserver_would_make_and_no_two_are_the_same() -> None:
    ids = [new_audit_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(text)) == text for text in ids)
    assert {(u.version, u.variant) for u in map(uuid.UUID, ids)} == {(4, uuid.RFC_4122)}
    assert {text[19] for text in ids} == set("89ab")
