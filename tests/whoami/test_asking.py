"""What the request for the page asks."""

from __future__ import annotations

import pytest

from proxy.whoami.asking import is_at, namespace_of, prefers_html

PATH = b"/.auth-proxy/whoami"


@pytest.mark.parametrize("target", [PATH, PATH + b"?", PATH + b"?a=b&namespace=x?y"])
def test_it_is_at_exactly_its_path_whatever_the_query(target: bytes) -> None:
    assert is_at(target)


@pytest.mark.parametrize(
    "target",
    [
        PATH + b"/",
        PATH + b"x",
        PATH + b"%3F",
        PATH + b";a=b",
        b"/" + PATH,
        b"/.auth-proxy//whoami",
        b"/%2eauth-proxy/whoami",
        b"/.auth-proxy/who%61mi",
        b"/.AUTH-PROXY/whoami",
        b"/x/.." + PATH,
        b"/.auth-proxy/",
        b"/api" + PATH,
        b"/api/v1/namespaces/x/services/y/proxy" + PATH,
    ],
)
def test_everything_else_is_some_other_path(target: bytes) -> None:
    assert not is_at(target)


@pytest.mark.parametrize(
    ("query", "namespace"),
    [
        (b"", "default"),
        (b"?", "default"),
        (b"?namespace=shop", "shop"),
        (b"?namespace=shop&namespace=team-a", "team-a"),
        (b"?namespace=", "default"),
        (b"?namespace=Shop", "default"),
        (b"?namespace=a/b", "default"),
        (b"?namespace=%3Cscript%3E", "default"),
        (b"?namespace=" + b"x" * 64, "default"),
        (b"?namespace=shop&" + b"x" * 2000, "default"),
        (b"?namespace=%ff%fe", "default"),
        (b"?" + b"&" * 500 + b"namespace=shop", "shop"),
    ],
)
def test_a_namespace_is_one_or_the_default(query: bytes, namespace: str) -> None:
    assert namespace_of(PATH + query) == namespace


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", True),
        (b"text/html", True),
        (b"TEXT/HTML;charset=utf-8", True),
        (b"text/html, */*", True),
        (b"text/*;q=0.5, application/json;q=0.1", True),
        (b"", False),
        (b"*/*", False),
        (b"application/json", False),
        (b"application/json, */*", False),
        (b"text/html, application/json", False),
        (b"text/html;q=0.5, application/json", False),
        (b"text/html;q=0", False),
        (b"text/html;q=nan", False),
        (b"text/html;q=1e9", False),
        (b"application/*", False),
        (b"," * 60_000 + b"text/html", False),
        (b"\xff\xfe", False),
    ],
)
def test_html_is_for_who_wants_it_most(accept: bytes, *, html: bool) -> None:
    assert prefers_html(accept) is html
