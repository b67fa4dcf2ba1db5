"""What an issuer's answers amount to: its discovery document, its keys, its clock.

Pure. serve checks of the document only what kube-apiserver checks; Headlamp and its browsers need
the rest, so here Authlib validates all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.oidc.discovery import OpenIDProviderMetadata
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.algorithms import ALGORITHMS
from proxy.authn.keyset import KeySet
from proxy.authn.verifier import NOT_BEFORE_LEEWAY, TokenRules
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.tsidp import is_tsidp, on_tailnet
from proxy.tools.doctor.verdict import Verdict, failed, noted

WELL_KNOWN: Final = "/.well-known/openid-configuration"
LEAST_SKEW: Final = 10.0  # seconds; less is within what a Date header and a network can tell

Metadata = Mapping[str, Any]


def document_of(answer: Answer) -> dict[str, Any] | None:
    """Return the discovery document of an answer, if it is one."""
    document = answer.json() if answer.status == 200 else None
    return document if isinstance(document, dict) and "issuer" in document else None


def no_document(answer: Answer, setting: str) -> Verdict:
    """Say why an answer is no discovery document; ``setting`` is what led there."""
    host = urlsplit(answer.url).hostname or ""
    saw = f"{answer.url} answers {answer.words}"
    match answer.status:
        case 401 | 403 if on_tailnet(host):
            mend = (
                "let this pod reach tsidp, in the tailnet's policy: "
                '{"src": ["tag:k8s"], "dst": ["tag:tsidp"], "ip": ["tcp:443"]}'
            )
            return failed(causes.DISCOVERY_FORBIDDEN, saw, mend)
        case 401 | 403:
            mend = f"let {WELL_KNOWN} at {host} be read without a login"
            return failed(causes.DISCOVERY_FORBIDDEN, saw, mend)
        case 404 | 405 | 410:
            mend = f"correct {setting}: the issuer's own URL, path (realm, tenant) included"
            return failed(causes.DISCOVERY_NOT_FOUND, saw, mend)
        case status if status != 200:
            mend = f"see what ails the issuer: curl -i {answer.url}"
            return failed(causes.DISCOVERY_FAILED, saw, mend)
    if answer.body is None:
        saw = f"{answer.url} is larger than 1 MiB"
    elif answer.is_page:
        saw = f"{answer.url} is an HTML page, such as that of a login, not a discovery document"
    elif answer.json() is None:
        saw = f"{answer.url} is not JSON"
    else:
        saw = f"{answer.url} is JSON without an issuer"
    mend = f"correct {setting}, or what stands before the issuer; see curl -i {answer.url}"
    return failed(causes.DISCOVERY_INVALID, saw, mend)


def other_issuer(document: Metadata, issuer: str, url: str) -> Verdict | None:
    """Say how the issuer's own name differs from the configured one, if it does."""
    own = document.get("issuer")
    if own == issuer:
        return None
    saw = (
        f"{url} says that the issuer is {own!a}, configured is {issuer!a}{_difference(own, issuer)}"
    )
    if isinstance(own, str) and "{" in own:
        mend = f"--oidc-issuer-url={own}  # with your own tenant in place of what is in braces"
    elif not isinstance(own, str) or not own.startswith("https://"):
        mend = f"make the issuer call itself {issuer} (its own setting; https is needed)"
    else:
        mend = f"--oidc-issuer-url={own}  # and the same in Headlamp's -oidc-idp-issuer-url"
    return failed(causes.ISSUER_MISMATCH, saw, mend)


def _difference(own: object, issuer: str) -> str:
    if not isinstance(own, str):
        return ""
    if own.rstrip("/") == issuer.rstrip("/"):
        return ": only the slash at the end differs"
    if own.lower() == issuer.lower():
        return ": only upper and lower case differ"
    theirs, ours = urlsplit(own), urlsplit(issuer)
    for part in ("scheme", "hostname", "port", "path"):
        if theirs._replace(**_one(part, ours)) == ours:
            return f": only the {part} differs"
    return ""


def _one(part: str, ours: Any) -> dict[str, str]:
    return {"netloc": ours.netloc} if part in {"hostname", "port"} else {part: getattr(ours, part)}


def not_usable(document: Metadata) -> Iterator[Verdict]:
    """Yield what a discovery document lacks for a login, or has wrong."""
    metadata = OpenIDProviderMetadata(document)
    for member in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        value = document.get(member)
        if not isinstance(value, str) or not value.lower().startswith("https://"):
            saw = f"the discovery document has {member} {value!a}; it must be an https URL"
            mend = f"let the issuer publish {member} with https (its own external URL setting)"
            yield failed(causes.DISCOVERY_INVALID, saw, mend)
            return
    try:
        metadata.validate()
    except (ValueError, TypeError, AttributeError) as error:
        saw = f"the discovery document is not as OpenID Connect wants it: {error}"
        yield noted(causes.DISCOVERY_INVALID, saw)


def not_renewed(document: Metadata) -> Verdict | None:
    """Say so if the issuer names what it grants, and refresh tokens are not among it."""
    grants = document.get("grant_types_supported")
    if not isinstance(grants, list) or "refresh_token" in grants:
        return None
    saw = f"the issuer grants {', '.join(map(str, grants))}, and no refresh tokens"
    mend = "take the newer tsidp, github.com/tailscale/tsidp" if is_tsidp(document) else ""
    return noted(causes.NO_REFRESH_TOKENS, saw, mend)


def not_signed_as_accepted(document: Metadata, rules: TokenRules) -> Verdict | None:
    """Say so if the issuer names its algorithms and none of them is accepted."""
    named = document.get("id_token_signing_alg_values_supported")
    if not isinstance(named, list) or rules.algorithms.intersection(map(str, named)):
        return None
    return _other_algorithms(f"the issuer signs with {', '.join(map(str, named))}", named, rules)


def keys_not_usable(keys: KeySet, rules: TokenRules) -> Verdict | None:
    """Say so if no published key can make a signature that is accepted."""
    possible: set[str] = set()
    for key in keys.keys:
        if isinstance(key.public_key, rsa.RSAPublicKey):
            possible |= {name for name in ALGORITHMS if name[:2] in {"RS", "PS"}}
        else:
            possible.add(_CURVE_ALGORITHMS[key.public_key.curve.name])
    if possible & rules.algorithms:
        return None
    return _other_algorithms(f"its keys are for {', '.join(sorted(possible))}", possible, rules)


_CURVE_ALGORITHMS: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def _other_algorithms(saw: str, named: Any, rules: TokenRules) -> Verdict:
    usable = [name for name in sorted(map(str, named)) if name in ALGORITHMS]
    accepted = ", ".join(sorted(rules.algorithms))
    mend = (
        f"--oidc-signing-algs={','.join([*sorted(rules.algorithms), *usable])}"
        if usable
        else "let the issuer sign ID tokens with RS256 (the client's setting, in most)"
    )
    return failed(causes.SIGNING_ALGS_MISMATCH, f"{saw}; accepted are {accepted}", mend)


def clock(answer: Answer, rules: TokenRules) -> Verdict | None:
    """Say so if the issuer's clock is too far from ours for its tokens to be taken."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError):
        return None
    ahead = answer.at - theirs
    if -NOT_BEFORE_LEEWAY <= ahead <= max(rules.leeway, LEAST_SKEW):
        return None
    ours, its = ("ahead of", "end early") if ahead > 0 else ("behind", "are not valid yet")
    saw = f"this machine's clock is {abs(ahead):.0f} s {ours} the issuer's, so its tokens {its}"
    mend = "timedatectl set-ntp true  # on the machine whose clock is wrong: compare date -u"
    return failed(causes.CLOCK_SKEW, saw, mend)
