"""Which written names were probably meant to be which real ones, and which were not."""

from __future__ import annotations

import pytest

from proxy.tools.doctor.near import Miss, miss

ALICE = "alice@example.com"


@pytest.mark.parametrize(
    ("written", "real", "expected"),
    [
        (f" {ALICE}", ALICE, Miss.BLANK),
        (f'"{ALICE}"', ALICE, Miss.BLANK),
        (f"{ALICE}\u200b", ALICE, Miss.BLANK),
        ("zoe\u0308@example.com", "zo\u00eb@example.com", Miss.BLANK),
        ("Alice@Example.com", ALICE, Miss.CASE),
        (f"oidc:{ALICE}", ALICE, Miss.PREFIX),
        (ALICE, f"https://idp.tail1234.ts.net#{ALICE}", Miss.PREFIX),
        ("tag:admins", "admins", Miss.PREFIX),
        (f"oidc:{ALICE}", f"tsidp:{ALICE}", Miss.PREFIX),
        ("alice", ALICE, Miss.LOCAL_PART),
        ("alice@github", ALICE, Miss.DOMAIN),
        ("alcie@example.com", ALICE, Miss.SPELLING),
        ("k8s-admin", "k8s-admins", Miss.SPELLING),
    ],
)
def test_meant_for_one_another(written: str, real: str, expected: Miss) -> None:
    assert miss(written, real) is expected


@pytest.mark.parametrize(
    ("written", "real"),
    [
        (ALICE, ALICE),
        ("", ALICE),
        ("bob@example.com", ALICE),
        ("alan@example.com", "anna@example.com"),
        ("k8s-admins", "k8s-viewers"),
        ("dev", "ops"),
        ("dev", "devs"),
        ("example.com", ALICE),
    ],
)
def test_the_same_or_something_else_altogether(written: str, real: str) -> None:
    assert miss(written, real) is None
