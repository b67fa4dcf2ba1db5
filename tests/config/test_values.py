"""One text becomes one value, or is refused with words that say what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Address, values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("3ns", 3e-9),
        ("1m1m", 120.0),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert values.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("90s", 90.0), ("2m", 120.0)])
def test_a_duration_may_have_bounds(text: str, seconds: float) -> None:
    assert values.duration_between(1, 120)(text) == seconds


@pytest.mark.parametrize("text", ["0s", "999ms", "121s"])
def test_a_duration_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write from 1s to 120s"):
        values.duration_between(1, 120)(text)


@pytest.mark.parametrize("text", ["0", "1", "007", "10"])
def test_a_number_may_have_bounds_and_0_for_none(text: str) -> None:
    assert values.number(1, 10, or_none=True)(text) == int(text)


@pytest.mark.parametrize("text", ["", "-", "+1", "1.5", "1e3", "ten", "\u0663", " 1", "1_0"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number; write from 1 to 10"):
        values.number(1, 10)(text)


@pytest.mark.parametrize("text", ["0", "-1", "11", "9" * 18, "9" * 5000])
def test_a_number_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is out of range; write from 1 to 10$"):
        values.number(1, 10)(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-5s", "is negative"),
        ("60", "has no unit; write 60s"),
        ("0", "has no unit; write 0s"),
        ("1.5", r"has no unit; write 1\.5s"),
        ("", "is not a duration"),
        ("s", "is not a duration"),
        (".s", "is not a duration"),
        ("5d", "is not a duration"),
        ("5 s", "is not a duration"),
        ("5s ", "is not a duration"),
        ("\u0665s", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("infs", "is not a duration"),
        ("9" * 400 + "h", "longer than any"),
        ("300000000h", "longer than any"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.duration(text)


@given(st.text())
def test_no_text_makes_a_duration_negative_or_endless(text: str) -> None:
    try:
        seconds = values.duration(text)
    except ValueError:
        return
    assert 0 <= seconds < 1e11


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_a_switch_is_on_by_what_go_takes_for_true(text: str) -> None:
    assert values.switch(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_a_switch_is_off_by_what_go_takes_for_false(text: str) -> None:
    assert values.switch(text) is False


@pytest.mark.parametrize("text", ["", "yes", "on", "tRUE", "2", " true"])
def test_a_switch_takes_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="write true or false"):
        values.switch(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://idp.example",
        "https://idp.example/",
        "https://idp.example:8443/realms/a",
        "HTTPS://IDP.example",
        "https://[fd00::1]:8443",
    ],
)
def test_an_issuer_is_kept_to_the_letter(text: str) -> None:
    assert values.issuer(text) == text


_NOT_HTTPS_URLS = [
    ("http://idp.example", "is not https"),
    ("idp.example", "has no host"),
    ("https://", "has no host"),
    ("https:///path", "has no host"),
    ("https://user@idp.example", "user or password"),
    ("https://user:pass@idp.example", "user or password"),
    ("https://@idp.example", "user or password"),
    ("https://idp.example?", "query or a fragment"),
    ("https://idp.example/?a=b", "query or a fragment"),
    ("https://idp.example#a", "query or a fragment"),
    ("https://idp.example#", "query or a fragment"),
    ("https://idp.example:port", "is not a URL"),
    ("https://idp.example:0", "a port that cannot be"),
    ("https://idp.example:99999", "is not a URL"),
    ("https://[::1", "is not a URL"),
    ("https://idp.example /x", "holds a blank"),
    (" https://idp.example", "holds a blank"),
]


@pytest.mark.parametrize("parse", [values.issuer, values.https_url, values.upstream])
@pytest.mark.parametrize(("text", "words"), _NOT_HTTPS_URLS)
def test_a_url_must_be_https_with_nothing_but_host_port_and_path(
    parse: Callable[[str], object], text: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://10.0.0.1", Address("10.0.0.1", 443)),
        ("https://10.0.0.1:6443/", Address("10.0.0.1", 6443)),
        ("https://[fd00::1]", Address("fd00::1", 443)),
        ("https://ABC.gr7.eu-west-1.eks.amazonaws.com", None),
    ],
)
def test_an_upstream_is_host_and_port(text: str, address: Address | None) -> None:
    expected = address or Address("abc.gr7.eu-west-1.eks.amazonaws.com", 443)
    assert values.upstream(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://10.0.0.1/k8s/clusters/c-1", "has a path"),
        ("https://bad..example", "neither an IP address nor a DNS name"),
        ("https://büro.example", "neither an IP address nor a DNS name"),
    ],
)
def test_an_upstream_has_no_path_and_a_host_that_can_be_certified(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.upstream(text)


@pytest.mark.parametrize("text", ["http://localhost:1055", "socks5h://[::1]:1055"])
def test_a_proxy_is_http_or_socks5h(text: str) -> None:
    assert values.http_proxy(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("socks5://localhost:1055", "use socks5h"),
        ("https://localhost:1055", "use http:// or socks5h://"),
        ("http://localhost", "scheme, host and port only"),
        ("http://localhost:1055/path", "scheme, host and port only"),
        ("http://user:secret@localhost:1055", "user or password"),
        ("localhost:1055", "has no host"),
        ("http://bad..host:1055", "neither an IP address nor a DNS name"),
    ],
)
def test_what_is_no_proxy_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.http_proxy(text)


def test_every_algorithm_of_kube_apiserver_may_be_configured() -> None:
    text = "RS256,RS384,RS512,ES256,ES384,ES512,PS256,PS384,PS512"
    assert values.signing_algs(text) == tuple(text.split(","))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("HS256", '"HS256"'),
        ("none", '"none"'),
        ("RS256, ES256", '" ES256"'),
        ("RS256,", '""'),
        ("rs256", '"rs256"'),
        ("HS256,RS256,none", '"HS256", "none"'),
    ],
)
def test_other_algorithms_are_refused_in_kube_apiservers_words(text: str, refused: str) -> None:
    with pytest.raises(ValueError, match=f"unsupported signing alg: {refused};"):
        values.signing_algs(text)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("a=b", ("a", "b")),
        ("a=b=c", ("a", "b=c")),
        ("a=b,c=d", ("a", "b,c=d")),
        (" a = b ", ("a", "b")),
        ("a=", ("a", "")),
    ],
)
def test_a_required_claim_is_split_at_the_first_equals_sign(
    text: str, pair: tuple[str, str]
) -> None:
    assert values.required_claim(text) == pair


@pytest.mark.parametrize("text", ["a", "", "=b", " =b"])
def test_a_required_claim_has_a_claim_and_an_equals_sign(text: str) -> None:
    with pytest.raises(ValueError, match="write claim=value"):
        values.required_claim(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), (" a", "with a blank"), ("a\t", "with a blank")],
)
def test_a_name_arrives_as_it_was_sent(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.name(text)


@pytest.mark.parametrize("text", ["", "-", "--", "-:", "oidc:", "a b "])
def test_a_prefix_may_be_nearly_anything(text: str) -> None:
    assert values.prefix(text) == text


def test_a_prefix_does_not_begin_with_a_blank() -> None:
    with pytest.raises(ValueError, match="begins with a blank"):
        values.prefix(" oidc:")


def test_no_exception_can_be_made_for_system_masters() -> None:
    with pytest.raises(ValueError, match="can never be allowed"):
        values.reserved_group("system:masters")


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\x7f", "\x85", "\udcff"])
def test_control_characters_and_stray_bytes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        values.printable(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Proxy.Ns.svc", "proxy.ns.svc"),
        ("*.a.b", "*.a.b"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0::1", "fd00::1"),
    ],
)
def test_a_serving_name_is_a_dns_name_or_an_ip_address(text: str, name: str) -> None:
    assert values.serving_name(text) == name


@pytest.mark.parametrize("text", ["", "*", "a b", "https://a", "a_b", "a.", "[::1]", "127.1", "ü"])
def test_a_serving_name_is_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="IP address"):
        values.serving_name(text)


@pytest.mark.parametrize(
    ("text", "name"), [("X-Request-Id", "x-request-id"), ("X_Team", "x_team"), ("baggage",) * 2]
)
def test_a_header_to_pass_is_kept_in_lower_case(text: str, name: str) -> None:
    assert values.request_header(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "Authorization",
        "AUTHORIZATION",
        "Connection",
        "Content-Length",
        "Content_Length",
        "Cookie",
        "Expect",
        "Forwarded",
        "Host",
        "HTTP2-Settings",
        "Impersonate-Extra-scopes",
        "Impersonate-Group",
        "Impersonate-User",
        "impersonate_user",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Transfer_Encoding",
        "Upgrade",
        "X-Forwarded-For",
        "Audit-ID",
        "X-Forwarded-User",
        "X-Real-IP",
        "X-Remote-Extra-a",
        "X-Remote-Group",
        "X-Remote-User",
        "x_remote_user",
    ],
)
def test_no_header_of_identity_framing_or_connection_can_be_passed(text: str) -> None:
    with pytest.raises(ValueError, match="can never pass"):
        values.request_header(text)


@pytest.mark.parametrize("text", ["", "X-A:", "X A", "X-Ä", "X-A\r\nHost", "X-*(", "a/b"])
def test_a_header_to_pass_is_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a header name"):
        values.request_header(text)
