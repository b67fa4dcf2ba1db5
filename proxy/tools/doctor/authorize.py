"""What an issuer's answers say of Headlamp as its client: at the authorize and token endpoints.

Pure. tsidp's words are those of both its generations (server/authorize.go and token.go; cmd/tsidp);
of other issuers, the codes of RFC 6749 and the usual words for an unknown client or callback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.verdict import Verdict, failed, noted, ok, unknown

_CALLBACK: Final = re.compile(
    r"redirect[ _-]?ur[il]|callback ur[il]|reply (?:url|address)|AADSTS50011", re.IGNORECASE
)
_CLIENT: Final = re.compile(
    r"invalid[ _]client|client[ _]?(?:id|application)?\W+(?:\S+\W+)?(?:was |is )?"
    r"(?:not found|unknown|invalid|not registered|does not exist)|unknown client|AADSTS700016"
    r"|no registered client|unauthorized_client",
    re.IGNORECASE,
)
_PKCE: Final = re.compile(r"pkce|code[ _]challenge|code[ _]verifier", re.IGNORECASE)
_PROTECTED: Final = re.compile(r'extra claim "(\w+)" overwriting|merge extra claims')
_TEXT: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An OAuth error in whatever form it came."""

    error: str
    description: str

    @property
    def words(self) -> str:
        return f"{self.error}: {self.description}" if self.description else self.error


def returned(answer: Answer, callback: str) -> Mapping[str, str] | None:
    """Return what an answer hands to the client, or None if it does not lead to it."""
    if not 300 <= answer.status < 400 or not answer.location:
        return None
    target, wanted = urlsplit(answer.location), urlsplit(callback)
    if (target.scheme, target.netloc, target.path or "/") != (
        wanted.scheme,
        wanted.netloc,
        wanted.path or "/",
    ):
        return None
    return dict(parse_qsl(target.query))


def judge(answer: Answer, client_id: str, callback: str, *, guessed: bool) -> Verdict:
    """Say what the answer to an authorization request without a person tells.

    ``guessed`` says that nobody knows Headlamp's callback, and this one may be none.
    """
    handed = returned(answer, callback)
    if handed is not None:
        if "error" in handed:
            refusal = Refusal(handed["error"], handed.get("error_description", ""))
            return sent_back(refusal, client_id)
        return ok(f"the issuer knows the client {client_id} and its callback {callback}")
    if 300 <= answer.status < 400:
        query = dict(parse_qsl(urlsplit(answer.location).query))
        if "error" in query:
            refusal = Refusal(query["error"], query.get("error_description", ""))
            return refused(answer, refusal, client_id, callback, guessed=guessed)
        return ok(f"the issuer sends the client {client_id} on to a login")
    if answer.status == 200 and not _looks_refused(answer):
        return ok(f"the issuer shows a login to the client {client_id} with callback {callback}")
    return refused(answer, refusal_of(answer), client_id, callback, guessed=guessed)


def refused(
    answer: Answer, refusal: Refusal, client_id: str, callback: str, *, guessed: bool
) -> Verdict:
    """Say which of the two the issuer does not know, or what else it has against them."""
    saw = f"{_endpoint(answer)} answers {answer.status}: {refusal.words}"
    if _CALLBACK.search(refusal.words):
        if guessed:
            saw = f"the issuer knows the client {client_id}; which callback Headlamp names, it does"
            return ok(f"{saw} not say here")
        mend = f"register {callback} at the issuer as redirect URI of the client {client_id}"
        return failed(causes.CALLBACK_MISMATCH, saw, f"{mend}, letter by letter")
    if _CLIENT.search(refusal.words):
        mend = (
            f"register the client anew at the issuer ({callback}), and write its id in place of "
            f"--oidc-client-id={client_id}, here and in Headlamp (-oidc-client-id)"
        )
        return failed(causes.CLIENT_UNKNOWN, saw, mend)
    if answer.status == 401 and "unauthorized" in refusal.words.lower():
        mend = "run this on a device of the tailnet, or sign in from one: Funnel is not enough"
        return unknown(causes.AUTHORIZE_OVER_FUNNEL, saw, mend)
    if _PKCE.search(refusal.words):
        return failed(causes.PKCE_REQUIRED, saw, "-oidc-use-pkce  # Headlamp's flag")
    if answer.status >= 500:
        mend = "run this on a device of the tailnet, as browsers are, or with --login"
        return unknown(causes.AUTHORIZE_FAILED, saw, mend)
    return unknown(causes.AUTHORIZE_FAILED, saw, "sign in with --login, which shows the rest")


def sent_back(refusal: Refusal, client_id: str) -> Verdict:
    """Say what an error that is handed to the client means; client and callback are then known."""
    saw = f"the issuer sends people back with {refusal.words}"
    if refusal.error == "invalid_scope":
        mend = "-oidc-scopes=email,profile  # Headlamp's flag; in its Secret: OIDC_SCOPES"
        return failed(causes.SCOPE_UNSUPPORTED, saw, mend)
    if "tagged" in refusal.description:
        known = f"the issuer knows the client {client_id} and its callback"
        return noted(causes.TAGGED_DEVICE, f"{known}; it signs in nobody from here: {saw}")
    if _PKCE.search(refusal.words):
        return failed(causes.PKCE_REQUIRED, saw, "-oidc-use-pkce  # Headlamp's flag")
    if refusal.error in {"login_required", "interaction_required", "consent_required"}:
        return ok(f"the issuer knows the client {client_id} and its callback")
    if refusal.error in {"unauthorized_client", "unsupported_response_type", "invalid_request"}:
        mend = f"allow the authorization code flow for the client {client_id} at the issuer"
        return failed(causes.CLIENT_REFUSED, saw, mend)
    if refusal.error == "access_denied":
        mend = f"let the person use the client {client_id} (at the issuer: assignment, policy)"
        return failed(causes.CLIENT_REFUSED, saw, mend)
    return unknown(causes.AUTHORIZE_FAILED, saw)


def no_token(answer: Answer, client_id: str, callback: str, *, has_secret: bool) -> Verdict:
    """Say why the token endpoint gave nothing for a good code."""
    if answer.status == 200:  # what it is may be a token all the same, and is not shown
        saw = f"{_endpoint(answer)} answers 200 without a JSON object"
        return failed(
            causes.LOGIN_FAILED, saw, "see what stands before the issuer's token endpoint"
        )
    refusal = refusal_of(answer)
    saw = f"{_endpoint(answer)} answers {answer.status}: {refusal.words}"
    if (found := _PROTECTED.search(refusal.words)) is not None:
        name = found[1] or "tags"
        mend = (
            f'in the tailnet\'s policy, rename "{name}" under extraClaims of the grant for '
            'tailscale.com/cap/tsidp to "groups"'
        )
        return failed(causes.PROTECTED_CLAIM_IN_GRANT, saw, mend)
    if "tagged" in refusal.words:
        mend = (
            "sign in from a device that belongs to a person: tailscale up --advertise-tags= --reset"
        )
        return failed(causes.TAGGED_DEVICE, saw, mend)
    if "unmarshal" in refusal.words:
        mend = (
            "in the tailnet's policy, write the grant as "
            '{"tailscale.com/cap/tsidp": [{"extraClaims": {"groups": ["k8s-admins"]}}]}'
        )
        return failed(causes.GRANT_UNREADABLE, saw, mend)
    if _CALLBACK.search(refusal.words):
        mend = f"register {callback} at the issuer as redirect URI of the client {client_id}"
        return failed(causes.CALLBACK_MISMATCH, saw, mend)
    if answer.status == 401 or refusal.error == "invalid_client" or "credential" in refusal.words:
        if not has_secret:
            mend = "headlamp-auth-proxy doctor --login --client-secret-file=FILE"
            return unknown(causes.SECRET_NOT_CHECKED, saw, mend)
        mend = (
            f"copy the secret of the client {client_id} from the issuer anew, for Headlamp: "
            "kubectl -n headlamp patch secret headlamp-oidc -p "
            '\'{"stringData":{"OIDC_CLIENT_SECRET":"..."}}\''
        )
        return failed(causes.SECRET_WRONG, saw, mend)
    return failed(causes.LOGIN_FAILED, saw, f"see the issuer's log for the client {client_id}")


def refusal_of(answer: Answer) -> Refusal:
    """Read an error: JSON whatever its type is called, tsidp's line of text, or a page."""
    document = answer.json()
    if isinstance(document, dict) and "error" in document:
        return Refusal(str(document["error"]), str(document.get("error_description", "")))
    text = re.sub(r"\s+", " ", _TEXT.sub(" ", answer.text)).strip()[:300]
    found = re.fullmatch(r"Error \d+: (\w+) - (.*)", text)
    return Refusal(found[1], found[2]) if found else Refusal(text or "nothing", "")


def _looks_refused(answer: Answer) -> bool:
    """Say whether a page that calls itself 200 is an error all the same."""
    document = answer.json()
    if isinstance(document, dict):
        return "error" in document
    text = _TEXT.sub(" ", answer.text)
    return bool(re.search(r"\berror\b", text, re.IGNORECASE)) and bool(
        _CALLBACK.search(text) or _CLIENT.search(text)
    )


def _endpoint(answer: Answer) -> str:
    return answer.url.partition("?")[0]
