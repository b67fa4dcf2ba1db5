from __future__ import annotations

import datetime
from pathlib import Path

import jwt
import pytest
import trustme

from proxy.credentials.client_tls import ClientTLS
from proxy.credentials.credential import HeldCredential, from_files, readiness, token_expiry
from proxy.errors import CredentialUnavailable
from proxy.files import GivenData
from tests.credentials.for_requests import for_requests

NOW = 1_800_000_000.0


class Account:
    """A service account's directory, rotated as the kubelet does it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token_file, self.ca_file = directory / "token", directory / "ca.crt"
        self.generation = 0
        self.rotate("first", trustme.CA().cert_pem.bytes())
        self.token_file.symlink_to("..data/token")
        self.ca_file.symlink_to("..data/ca.crt")
        self.credential = from_files(self.token_file, self.ca_file)
        self.header = for_requests(self.credential).header

    def rotate(self, token: str, ca: bytes | None = None) -> None:
        before = None if ca else self.ca_file.read_bytes()
        self.generation += 1
        version = self.directory / f"..{self.generation}"
        version.mkdir()
        (version / "token").write_text(token)
        (version / "ca.crt").write_bytes(ca or before or b"")
        link = self.directory / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.directory / "..data")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def signed(**claims: object) -> str:
    return jwt.encode(claims, "x" * 32, algorithm="HS256")


def refused(account: Account, now: float) -> str:
    with pytest.raises(CredentialUnavailable) as raised:
        account.header(now)
    return raised.value.detail


def test_the_header_is_a_whole_line_without_the_files_line_break(account: Account) -> None:
    account.rotate("abc.DEF-_~+/=\n")
    assert account.header(NOW) == b"Authorization: Bearer abc.DEF-_~+/=\r\n"


def test_a_rotated_token_is_seen_within_a_second_and_not_before(account: Account) -> None:
    account.header(NOW)
    account.rotate("second")
    assert account.header(NOW + 0.99) == b"Authorization: Bearer first\r\n"
    assert account.header(NOW + 1) == b"Authorization: Bearer second\r\n"


def test_between_two_looks_the_line_is_the_same_object(account: Account) -> None:
    assert account.header(NOW) is account.header(NOW + 0.5)


def test_a_clock_that_is_set_back_does_not_stop_the_looking(account: Account) -> None:
    account.header(NOW)
    account.rotate("second")
    assert account.header(NOW - 3600) == b"Authorization: Bearer second\r\n"


def test_after_a_refusal_by_the_api_server_the_files_are_read_at_once(account: Account) -> None:
    account.header(NOW)
    account.rotate("second")
    account.credential.reread()
    assert account.header(NOW) == b"Authorization: Bearer second\r\n"


def test_what_a_look_finds_missing_is_not_sent_whatever_the_clock_said_before(
    account: Account,
) -> None:
    account.header(NOW)
    account.token_file.unlink()
    assert "cannot be read" in refused(account, NOW - 3600)
    assert "cannot be read" in refused(account, NOW - 3599.5)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"a b", "holds blanks"),
        (b"a\r\nImpersonate-User: root", "holds blanks, control"),
        (b"a\x00b", "control"),
        ("é".encode(), "non-ASCII"),
        (b"\xef\xbb\xbfabc", "non-ASCII"),
        (b"x" * 65537, "larger than 65536 bytes"),
    ],
)
def test_what_may_not_stand_in_a_header_is_never_sent(
    account: Account, token: bytes, why: str
) -> None:
    account.header(NOW)
    account.token_file.unlink()
    account.token_file.write_bytes(token)
    detail = refused(account, NOW + 1)
    assert detail.startswith(f"{account.token_file} (--upstream-token-file) ")
    assert why in detail
    assert "Impersonate" not in detail


def test_a_token_that_was_taken_away_is_not_served_from_memory(account: Account) -> None:
    account.header(NOW)
    account.token_file.unlink()
    detail = refused(account, NOW + 1)
    assert detail == (
        f"{account.token_file} (--upstream-token-file) cannot be read: "
        "there is no such file or directory"
    )
    account.token_file.write_text("third")
    assert refused(account, NOW + 1.5) == detail
    assert account.header(NOW + 2) == b"Authorization: Bearer third\r\n"


def test_an_expired_token_is_refused_and_its_successor_taken(account: Account) -> None:
    account.rotate(signed(exp=NOW + 10.5))
    assert account.header(NOW + 10)
    assert account.credential.expires_at == NOW + 10.5
    assert refused(account, NOW + 10.5).endswith("(--upstream-token-file) expired 0 s ago")
    assert "expired 90 s ago" in refused(account, NOW + 100.5)
    account.rotate(signed(exp=NOW + 3600))
    assert account.header(NOW + 101.5)
    assert account.credential.expires_at == NOW + 3600


@pytest.mark.parametrize(
    "token",
    ["opaque", "a.b.c", "k8s-aws-v1.aHR0cHM6", signed(), signed(exp="soon"), signed(exp=True)],
)
def test_a_token_that_does_not_say_when_it_ends_has_no_end(token: str) -> None:
    assert token_expiry(token.encode()) is None


def test_an_end_that_is_no_time_is_none() -> None:
    assert token_expiry(signed(exp=10**400).encode()) is None


def test_a_missing_authority_is_refused_before_a_connection_is_tried(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    credential = from_files(tmp_path / "token", tmp_path / "ca.crt")
    with pytest.raises(CredentialUnavailable) as header:
        credential.header(NOW)
    with pytest.raises(CredentialUnavailable) as context:
        credential.ssl_context()
    assert header.value.detail == context.value.detail
    assert "ca.crt (--upstream-ca-file) cannot be read" in header.value.detail


def test_a_rotated_authority_gives_another_context_and_a_rotated_token_does_not(
    account: Account,
) -> None:
    assert account.credential.tls is None
    account.header(NOW)
    first = account.credential.tls
    assert account.credential.ssl_context() is first
    account.rotate("second")
    account.header(NOW + 1)
    assert account.credential.tls is account.credential.ssl_context() is first
    account.rotate("second", trustme.CA().cert_pem.bytes())
    account.header(NOW + 2)
    assert account.credential.tls is not first
    assert account.credential.tls is account.credential.ssl_context()


def test_what_shows_nothing_of_ours_is_looked_at_by_whoever_asks(account: Account) -> None:
    bare = account.credential.bare
    first = bare.tls
    assert bare.ssl_context() is first
    account.rotate("second", trustme.CA().cert_pem.bytes())
    assert bare.tls is bare.ssl_context() is not first


def test_a_bad_new_authority_does_not_stop_requests(account: Account) -> None:
    account.header(NOW)
    first = account.credential.ssl_context()
    account.rotate("second", b"garbage")
    assert account.header(NOW + 1) == b"Authorization: Bearer second\r\n"
    assert account.credential.ssl_context() is first


def certificate_credential(token: GivenData | None = None) -> HeldCredential:
    end = datetime.datetime.fromtimestamp(NOW + 3600, datetime.UTC)
    leaf = trustme.CA().issue_cert("proxy@example.org", not_after=end)
    certificate = GivenData("cert", leaf.cert_chain_pems[0].bytes())
    key = GivenData("key", leaf.private_key_pem.bytes())
    return HeldCredential(ClientTLS(None, certificate, key), token)


def test_a_client_certificate_needs_no_header_line() -> None:
    credential = certificate_credential()
    assert credential.header(NOW) == b""
    assert credential.expires_at == NOW + 3600


def test_an_expired_client_certificate_is_refused() -> None:
    credential = certificate_credential()
    with pytest.raises(CredentialUnavailable, match="the client certificate expired 60 s ago"):
        credential.header(NOW + 3660)


def test_of_a_token_and_a_certificate_the_earlier_end_counts() -> None:
    token = GivenData("the token", signed(exp=NOW + 60).encode())
    credential = certificate_credential(token)
    assert credential.header(NOW)
    assert credential.expires_at == NOW + 60
    with pytest.raises(CredentialUnavailable, match="the token expired 1 s ago"):
        credential.header(NOW + 61)


async def test_readiness_says_what_stands_against_it(account: Account) -> None:
    assert await readiness(account.credential, NOW) is None
    account.token_file.unlink()
    problem = await readiness(account.credential, NOW + 1)
    assert problem is not None
    assert "--upstream-token-file" in problem


def test_no_token_is_part_of_a_repr(account: Account) -> None:
    account.rotate("s3cr3t")
    account.header(NOW)
    assert "s3cr3t" not in repr(account.credential)
    assert "s3cr3t" not in repr(vars(account.credential)["_token"])
