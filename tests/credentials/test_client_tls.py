from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from proxy.credentials.client_tls import ClientTLS
from proxy.files import FollowedFile, GivenData, SourceError
from tests.loops import Run, on_both_loops


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def in_file(path: Path, content: bytes) -> FollowedFile:
    path.write_bytes(content)
    return FollowedFile(path, "--upstream-ca-file")


def client_pair(ca: trustme.CA) -> tuple[bytes, bytes]:
    leaf = ca.issue_cert("proxy@example.org")
    return leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()


async def handshake(
    server_ca: trustme.CA, client: ssl.SSLContext, *, name: str = "127.0.0.1", ask: bool = False
) -> tuple[str | None, bytes]:
    """Connect to a server of ``server_ca``; return the ALPN result and the certificate shown."""
    shown = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal shown
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        writer.write(b"x")
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_ca.issue_cert("127.0.0.1", "api.example").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if ask:
        context.verify_mode = ssl.CERT_OPTIONAL
        server_ca.configure_trust(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=name
        )
        await reader.readexactly(1)
        alpn = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()
        await writer.wait_closed()
    return alpn, shown


@on_both_loops
def test_a_server_of_the_given_authority_is_believed_and_asked_for_http_1_1(
    ca: trustme.CA, run: Run
) -> None:
    client = ClientTLS(GivenData("ca", ca.cert_pem.bytes())).context()

    async def check() -> None:
        assert (await handshake(ca, client))[0] == "http/1.1"
        assert (await handshake(ca, client, name="api.example"))[0] == "http/1.1"

    run(check())


@on_both_loops
def test_another_authority_and_another_name_are_not_believed(ca: trustme.CA, run: Run) -> None:
    client = ClientTLS(GivenData("ca", ca.cert_pem.bytes())).context()

    async def check() -> None:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await handshake(ca, client, name="other.example")
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await handshake(trustme.CA(), client)

    run(check())


@on_both_loops
def test_a_client_certificate_is_shown(ca: trustme.CA, run: Run) -> None:
    certificate, key = client_pair(ca)
    client = ClientTLS(
        GivenData("ca", ca.cert_pem.bytes()), GivenData("cert", certificate), GivenData("key", key)
    )

    async def check() -> None:
        _, shown = await handshake(ca, client.context(), ask=True)
        assert x509.load_der_x509_certificate(shown) == x509.load_pem_x509_certificate(certificate)

    run(check())


@on_both_loops
def test_without_the_certificate_the_authority_is_believed_and_nothing_is_shown(
    ca: trustme.CA, run: Run
) -> None:
    certificate, key = client_pair(ca)
    client = ClientTLS(
        GivenData("ca", ca.cert_pem.bytes()), GivenData("cert", certificate), GivenData("key", key)
    )
    bare = client.without_certificate().context()

    async def check() -> None:
        assert await handshake(ca, bare, ask=True) == ("http/1.1", b"")
        with pytest.raises(ssl.SSLCertVerificationError):
            await handshake(trustme.CA(), bare)

    run(check())


def test_no_strictness_is_asked_of_the_clusters_authority(ca: trustme.CA) -> None:
    context = ClientTLS(GivenData("ca", ca.cert_pem.bytes())).context()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_comments_in_a_bundle_may_be_in_any_script(ca: trustme.CA) -> None:
    bundle = "# Autorité de São Paulo\n".encode() + ca.cert_pem.bytes() * 2
    assert len(ClientTLS(GivenData("ca", bundle)).context().get_ca_certs()) == 1


def test_without_an_authority_the_systems_roots_are_believed() -> None:
    assert ClientTLS(None).context().verify_mode is ssl.CERT_REQUIRED


def test_the_context_is_another_one_only_if_the_content_changed(
    tmp_path: Path, ca: trustme.CA
) -> None:
    path = tmp_path / "ca.crt"
    client = ClientTLS(in_file(path, ca.cert_pem.bytes()))
    first = client.context()
    path.write_bytes(ca.cert_pem.bytes())
    client.forget()
    client.look()
    assert client.context() is first
    path.write_bytes(trustme.CA().cert_pem.bytes())
    client.look()
    assert client.context() is not first


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nMII"])
def test_a_new_authority_that_is_bad_keeps_the_old_context_and_is_logged_once_as_is_its_end(
    tmp_path: Path, ca: trustme.CA, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ca.crt"
    client = ClientTLS(in_file(path, ca.cert_pem.bytes()))
    first = client.context()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    caplog.set_level(logging.INFO)
    client.look()
    client.look()
    assert client.context() is first
    assert len(caplog.records) == 1
    assert str(path) in caplog.text

    path.write_bytes(trustme.CA().cert_pem.bytes())
    client.look()
    client.look()
    assert client.context() is not first
    assert caplog.messages[1:] == ["The TLS settings for the API server can be used again."]


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_first_authority_that_is_bad_is_an_error_that_names_it(
    tmp_path: Path, content: bytes
) -> None:
    client = ClientTLS(in_file(tmp_path / "ca.crt", content))
    with pytest.raises(SourceError, match=r"ca\.crt \(--upstream-ca-file\) holds no usable CA"):
        client.context()


def test_a_certificate_without_its_own_key_is_an_error_that_names_both(ca: trustme.CA) -> None:
    certificate, _ = client_pair(ca)
    _, key = client_pair(ca)
    client = ClientTLS(None, GivenData("the cert", certificate), GivenData("the key", key))
    with pytest.raises(SourceError, match="the cert and the key are not a certificate and its"):
        client.context()


def test_the_end_of_the_client_certificate_is_known(ca: trustme.CA) -> None:
    certificate, key = client_pair(ca)
    client = ClientTLS(None, GivenData("the cert", certificate), GivenData("the key", key))
    client.look()
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    assert client.not_after == end
