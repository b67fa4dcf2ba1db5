"""What must hold of an issuer and of an extra's key, each by itself and in kube-apiserver's words.

Source: k8s.io/apiserver/pkg/apis/apiserver/validation/validation.go, validateIssuer, and
k8s.io/apimachinery/pkg/util/validation, IsDomainPrefixedPath.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from cryptography import x509

from proxy.authn.configuration import fields
from proxy.authn.configuration.types import Issuer
from proxy.authn.configuration.urls import problems_of_https

MATCH_ANY: Final = "MatchAny"

_DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN: Final = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_HTTP_PATH: Final = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def issuer_problems(issuer: Issuer, path: str, disallowed: Collection[str]) -> Iterable[str]:
    """Yield what is wrong with the issuer at ``path``."""
    if not issuer.url:
        yield fields.required(f"{path}.url")
    else:
        if issuer.url in disallowed:
            overlap = f"[{' '.join(sorted(disallowed))}]"
            detail = f"URL must not overlap with disallowed issuers: {overlap}"
            yield fields.invalid(f"{path}.url", issuer.url, detail)
        for problem in problems_of_https(issuer.url):
            yield fields.invalid(f"{path}.url", issuer.url, problem)
    yield from _discovery_url(issuer, f"{path}.discoveryURL")
    yield from _audiences(issuer, path)
    yield from _certificate_authority(issuer, f"{path}.certificateAuthority")
    yield from _egress(issuer, f"{path}.egressSelectorType")


def _discovery_url(issuer: Issuer, path: str) -> Iterable[str]:
    url = issuer.discovery_url
    if not url:
        return
    if issuer.url and issuer.url.rstrip("/") == url.rstrip("/"):
        yield fields.invalid(path, url, "discoveryURL must be different from URL")
    for problem in problems_of_https(url):
        yield fields.invalid(path, url, problem)


def _audiences(issuer: Issuer, path: str) -> Iterable[str]:
    where = f"{path}.audiences"
    if not issuer.audiences:
        yield fields.required(where, f"at least one {where} is required")
        return
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            yield fields.required(f"{where}[{index}]")
        if audience in issuer.audiences[:index]:
            yield fields.duplicate(f"{where}[{index}]", audience)
    policy = issuer.audience_match_policy
    where = f"{path}.audienceMatchPolicy"
    if len(issuer.audiences) > 1 and policy != MATCH_ANY:
        detail = "audienceMatchPolicy must be MatchAny for multiple audiences"
        yield fields.invalid(where, policy, detail)
    if len(issuer.audiences) == 1 and policy not in {"", MATCH_ANY}:
        detail = "audienceMatchPolicy must be empty or MatchAny for single audience"
        yield fields.invalid(where, policy, detail)


def _certificate_authority(issuer: Issuer, path: str) -> Iterable[str]:
    """cert.NewPoolFromBytes of client-go; a text may also be around the certificates."""
    if not (pem := issuer.certificate_authority):
        return
    problem = None
    if "-----BEGIN CERTIFICATE-----" not in pem:
        problem = "data does not contain any valid RSA or ECDSA certificates"
    else:
        try:
            x509.load_pem_x509_certificates(pem.encode())
        except ValueError:
            problem = "x509: malformed certificate"
    if problem:
        yield fields.invalid(path, "<omitted>", problem)


def _egress(issuer: Issuer, path: str) -> Iterable[str]:
    match issuer.egress_selector_type:
        case "":
            return
        case "controlplane" | "cluster" as kind:
            detail = f'oidc: egress lookup for "{kind}" is not configured; see --oidc-http-proxy'
        case _:
            detail = "egress selector must be either controlplane or cluster"
    yield fields.invalid(path, issuer.egress_selector_type, detail)


def extra_key_problems(key: str, path: str) -> Iterable[str]:
    """Yield what is wrong with an extra's key: no domain-prefixed path, or not one to be had."""
    domain, slash, rest = key.partition("/")
    if not key:
        yield fields.required(path)
    elif not (domain and slash and rest):
        yield fields.invalid(path, key, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        if len(domain) > 253:
            yield fields.invalid(path, domain, "must be no more than 253 characters")
        if not re.fullmatch(_DNS_SUBDOMAIN, domain):
            detail = (
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                "characters, '-' or '.', and must start and end with an alphanumeric character "
                f"(e.g. 'example.com', regex used for validation is '{_DNS_SUBDOMAIN}')"
            )
            yield fields.invalid(path, domain, detail)
        if not re.fullmatch(_HTTP_PATH, rest):
            detail = f"Invalid path (regex used for validation is '{_HTTP_PATH}')"
            yield fields.invalid(path, rest, detail)
    if key != key.lower():
        yield fields.invalid(path, key, "must be lowercase")
    if slash and re.fullmatch(r"(.*\.)?(kubernetes|k8s)\.io", domain):
        detail = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
        yield fields.invalid(path, key, detail)
