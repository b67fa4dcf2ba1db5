from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from pathlib import Path

import pytest
import trustme

from proxy.tls import check_pair, server_context


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def pair() -> tuple[bytes, bytes]:
    leaf = trustme.CA().issue_cert("127.0.0.1")
    return leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create")
def test_a_key_reaches_openssl_without_touching_a_disk(temporary: Path) -> None:
    temporary.rmdir()
    check_pair(*pair())


def test_where_it_must_touch_a_disk_it_is_private_and_gone_at_once(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    class Watching(ssl.SSLContext):
        def load_cert_chain(self, certfile: str, *_: object, **__: object) -> None:  # type: ignore[override]
            path = Path(certfile)
            seen.append((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777))

    monkeypatch.delattr(os, "memfd_create", raising=False)
    check_pair(*pair())
    monkeypatch.setattr(ssl, "SSLContext", Watching)
    check_pair(*pair())
    assert seen == [(0o600, 0o700)]
    assert list(temporary.iterdir()) == []


def test_a_pair_that_does_not_belong_together_is_refused() -> None:
    certificate, _ = pair()
    _, key = pair()
    with pytest.raises(ssl.SSLError):
        check_pair(certificate, key)


def test_the_key_that_was_given_counts_and_not_one_beside_the_certificate() -> None:
    certificate, key = pair()
    _, other = pair()
    check_pair(other + certificate, key)


def test_the_listener_speaks_nothing_older_than_tls_1_2() -> None:
    assert server_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_listener_gives_no_session_to_resume_in_tls_1_3() -> None:
    ca = trustme.CA()
    server, client = server_context(), ssl.create_default_context()
    ca.issue_cert("proxy").configure_cert(server)
    ca.configure_trust(client)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="proxy")
    for side in (theirs, ours, theirs, ours):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    ours.write(b"x")
    assert theirs.read(1) == b"x"
    assert theirs.version() == "TLSv1.3"
    assert theirs.session is None or not theirs.session.has_ticket
