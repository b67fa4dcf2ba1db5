from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from proxy.credentials.certificates import CertificateError, ensure_certificates
from proxy.credentials.serving import GivenCertificate, OwnCertificate, ServingCertificate
from tests.loops import Run, on_both_loops

NOW = 1_790_000_000.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def strict_client(ca: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@asynccontextmanager
async def echoing(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve with ``context`` on loopback, echoing lines; yield the port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port: int, client: ssl.SSLContext) -> Streams:
    return await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="127.0.0.1")


async def close(streams: Streams) -> None:
    streams[1].close()
    await streams[1].wait_closed()


def shown(streams: Streams) -> bytes:
    """Return the certificate that the server showed, in PEM."""
    der = streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    certificate = x509.load_der_x509_certificate(der)
    return certificate.public_bytes(serialization.Encoding.PEM)


async def echoes(streams: Streams) -> bool:
    streams[1].write(b"still here\n")
    return await streams[0].readline() == b"still here\n"


async def see_change(serving: ServingCertificate, client: ssl.SSLContext, now: float) -> None:
    """Check that ``refresh`` shows new connections another certificate, and only them."""
    async with echoing(serving.context) as port:
        early = await connect(port, client)
        before = shown(early)
        assert serving.refresh(now)
        late = await connect(port, client)
        assert shown(late) != before
        assert await echoes(early)
        assert await echoes(late)
        await close(early)
        await close(late)


class Pair:
    """A certificate and its key in files, as cert-manager would keep them."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.ca = trustme.CA()
        self.leaf = self.ca.issue_cert("127.0.0.1")
        self.write()

    def write(self) -> None:
        self.certificate.write_bytes(b"".join(b.bytes() for b in self.leaf.cert_chain_pems))
        self.key.write_bytes(self.leaf.private_key_pem.bytes())

    def replace(self, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        self.leaf = self.ca.issue_cert("127.0.0.1", key_type=key_type)
        self.write()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


# --- Our own certificate ---


@on_both_loops
def test_a_renewed_leaf_is_what_new_connections_see(tmp_path: Path, run: Run) -> None:
    # Made long ago and due now, so that both the old and the new one are valid at this moment.
    made_at = time.time() - 300 * 86_400
    own = OwnCertificate(tmp_path, [], made_at)
    run(see_change(own, strict_client(own.ca), time.time()))


@on_both_loops
def test_http_1_1_is_all_that_is_negotiated_and_tls_1_1_is_refused(
    tmp_path: Path, run: Run
) -> None:
    own = OwnCertificate(tmp_path, [], time.time())

    async def check() -> None:
        async with echoing(own.context) as port:
            streams = await connect(port, strict_client(own.ca))
            session = streams[1].get_extra_info("ssl_object")
            assert session.selected_alpn_protocol() == "http/1.1"
            assert session.version() == "TLSv1.3"
            await close(streams)

    run(check())
    assert own.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert own.context.options & ssl.OP_NO_RENEGOTIATION
    assert own.context.options & ssl.OP_NO_COMPRESSION


def test_nothing_happens_before_two_thirds_of_its_life(tmp_path: Path) -> None:
    own = OwnCertificate(tmp_path, [], NOW)
    issued = ensure_certificates(tmp_path, [], NOW)
    assert own.not_after == issued.not_after == NOW + 365 * 86_400
    assert not own.refresh(issued.renew_at - 1)
    assert own.refresh(issued.renew_at)
    assert own.not_after == issued.renew_at + 365 * 86_400


def test_a_renewal_that_fails_keeps_the_leaf_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = OwnCertificate(tmp_path, [], NOW)
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").write_bytes(b"broken")
    due = NOW + 300 * 86_400
    assert not own.refresh(due)
    assert not own.refresh(due + 60)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "--cert-dir" in caplog.text
    assert own.not_after == NOW + 365 * 86_400

    (tmp_path / "ca.key").write_bytes(key)
    assert own.refresh(due + 120)


# --- A certificate that others keep ---


@on_both_loops
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_a_replaced_pair_is_what_new_connections_see(
    pair: Pair, run: Run, key_type: trustme.KeyType
) -> None:
    """Also where the kind of key changes: OpenSSL would keep the old pair beside the new one."""
    given = GivenCertificate(pair.certificate, pair.key)
    pair.replace(key_type)
    run(see_change(given, strict_client(pair.ca.cert_pem.bytes()), NOW))


def test_a_pair_is_followed_through_the_swap_of_a_symlink(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    Pair(tmp_path / "first")
    second = Pair(tmp_path / "second")
    (tmp_path / "..data").symlink_to("first")
    given = GivenCertificate(tmp_path / "..data" / "tls.crt", tmp_path / "..data" / "tls.key")
    assert not given.refresh(NOW)

    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert given.refresh(NOW)
    assert not given.refresh(NOW)
    leaf = x509.load_pem_x509_certificate(second.leaf.cert_chain_pems[0].bytes())
    assert given.not_after == leaf.not_valid_after_utc.timestamp()


@on_both_loops
def test_a_pair_that_is_half_written_keeps_the_one_in_use_and_is_logged_once(
    pair: Pair, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    given = GivenCertificate(pair.certificate, pair.key)
    client = strict_client(pair.ca.cert_pem.bytes())
    other = pair.ca.issue_cert("127.0.0.1")

    async def check() -> None:
        async with echoing(given.context) as port:
            before = await connect(port, client)
            pair.certificate.write_bytes(other.cert_chain_pems[0].bytes())
            assert not given.refresh(NOW)
            assert not given.refresh(NOW + 1)
            after = await connect(port, client)
            assert shown(after) == shown(before)
            await close(before)
            await close(after)

    run(check())
    assert [record.name for record in caplog.records].count("proxy.credentials.serving") == 1
    assert "--tls-private-key-file" in caplog.text

    pair.key.write_bytes(other.private_key_pem.bytes())
    assert given.refresh(NOW + 2)


def test_a_pair_that_is_put_back_is_no_new_one_but_the_end_of_the_trouble_is_said(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    given = GivenCertificate(pair.certificate, pair.key)
    key = pair.key.read_bytes()
    pair.key.write_bytes(b"half")
    assert not given.refresh(NOW)
    pair.key.write_bytes(key)
    assert not given.refresh(NOW + 1)
    assert not given.refresh(NOW + 2)
    assert caplog.messages[1:] == ["The serving certificate in use is again what its files hold."]


def test_files_that_go_away_and_come_back_unchanged_are_no_change(pair: Pair) -> None:
    given = GivenCertificate(pair.certificate, pair.key)
    away = pair.certificate.with_name("away")
    pair.certificate.rename(away)
    assert not given.refresh(NOW)
    away.rename(pair.certificate)
    assert not given.refresh(NOW)


def encrypted(pem: bytes) -> bytes:
    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


@pytest.mark.parametrize("what", ["missing", "empty", "not PEM", "no certificate", "encrypted"])
def test_a_start_without_a_usable_pair_is_an_error_that_names_flags_and_files(
    pair: Pair, what: str
) -> None:
    key = pair.key.read_bytes()
    match what:
        case "missing":
            pair.certificate.unlink()
        case "empty":
            pair.key.write_bytes(b"")
        case "not PEM":
            pair.certificate.write_bytes(b"\x30\x82\x01\x00")
        case "no certificate":
            pair.certificate.write_bytes(key)
        case _:
            pair.key.write_bytes(encrypted(key))
    with pytest.raises(CertificateError, match="--tls-cert-file") as raised:
        GivenCertificate(pair.certificate, pair.key)
    assert str(pair.certificate) in str(raised.value)
