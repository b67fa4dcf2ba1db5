"""Keys from a file: whether they can be used, and whether they are still the issuer's."""

from __future__ import annotations

import pytest

from tests.issuer import jwks_document, rsa_key
from tests.tools.doctor.stage import Doctor, Stage, whole


@pytest.fixture(autouse=True)
def keys_in_a_file(stage: Stage) -> None:
    (stage.folder / "jwks.json").write_bytes(jwks_document(rsa_key(7)))
    stage.flags |= {
        "--oidc-jwks-file": str(stage.folder / "jwks.json"),
        "--oidc-ca-file": None,  # it cannot go with a file of keys
    }


def trusted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system trust the issuer, so that its own keys can be read to compare."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stage.ca_file))


def test_without_a_way_to_the_issuer_the_file_is_believed(stage: Stage, doctor: Doctor) -> None:
    with whole(stage):
        doctor.run()
    assert doctor.trusts[2]["status"] == "ok"
    causes = [note["cause"] for note in (doctor.trusts[2], *doctor.trusts[2]["notes"])]
    assert "jwks_not_compared" in causes


def test_keys_that_the_issuer_no_longer_has_are_named(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(stage, monkeypatch)
    with whole(stage):
        doctor.run()
    assert (doctor.trusts[2]["status"], doctor.trusts[2]["cause"]) == ("failed", "jwks_file_stale")
    assert f"curl -o {stage.folder}/jwks.json" in doctor.trusts[2]["mend"]


def test_keys_that_are_the_issuers_are_well(
    stage: Stage, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(stage, monkeypatch)
    (stage.folder / "jwks.json").write_bytes(jwks_document(stage.issuer._key.key_set()["keys"][0]))
    with whole(stage):
        doctor.run()
    assert doctor.trusts[2]["status"] == "ok"


def test_a_file_without_keys_is_named(stage: Stage, doctor: Doctor) -> None:
    (stage.folder / "jwks.json").write_text('{"keys": []}')
    with whole(stage):
        doctor.run()
    assert (doctor.trusts[2]["status"], doctor.trusts[2]["cause"]) == ("failed", "jwks_invalid")
