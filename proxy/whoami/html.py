"""The account as a page: plain HTML for eyes, keyboards and screen readers, without any script.

It is served under Headlamp's own address, where a script would have the user's whole session, and
nearly every text in it was chosen by somebody else. So it is built of elements alone, each of
which escapes all that is not an element itself. What cannot be seen is shown as an escape, lest a
name that turns the writing round be read as another one. The policy would let no script run anyway:
it allows one style sheet, by its hash, and forms to this address.

A stranger may ask for it as often as for a refusal, so it must cost little more: what is the same
on every page is written once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from html import escape
from typing import Any, Final

from proxy.account import Account
from proxy.errors import ProxyError, TokenMissing
from proxy.missing_rule import shown, view_binding
from proxy.whoami.style import STYLE, STYLE_HASH
from proxy.whoami.words import yourself

CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_TITLE: Final = "Who you are to this cluster"

Child = str  # escaped, unless it is Markup
_VOID: Final = frozenset({"meta", "input"})


def html(account: Account, error: ProxyError | None, now: float) -> str:
    """Return the whole page; ``now`` in unix seconds."""
    parts = [_verdict(account, error)]
    if error is not None:
        parts += [_help(account, error, now)]
    if account["speaks_of"] is not None:
        parts.append(_who(account))
    if account["token"] is not None:
        parts.append(_token(account, now))
    if account["rbac"] is not None:
        parts.append(_rights(account))
    if account["refused_requests"]:
        parts.append(_refused(account))
    if account["steps"]:
        parts.append(_steps(account))
    closing = _el("footer", _el("p", f"As of {_moment(now)}. ", _FOOTER))
    return f"{_OPENING}{_el('main', *parts)}{closing}</body></html>\n"


# --- The parts -----------------------------------------------------------------------------------


def _verdict(account: Account, error: ProxyError | None) -> Markup:
    name = account["speaks_of"]
    who = _el("p", _code(name), cls="who") if name is not None else None
    if error is None:
        kind, heading, words = _let_in(account["rbac"])
        return _el("section", _el("h1", heading), who, _el("p", words), cls=f"verdict {kind}")
    if isinstance(error, TokenMissing):
        heading = "You are not signed in"
    elif error.code >= 500:
        heading = "You cannot be let in just now"
    else:
        heading = "You are not let in"
    kind = "wait" if error.code >= 500 or isinstance(error, TokenMissing) else "bad"
    return _el("section", _el("h1", heading), who, _el("p", error.message), cls=f"verdict {kind}")


def _let_in(rbac: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return which kind of verdict it is for somebody who is let in here, and its words."""
    if rbac["missing"] == "impersonation":
        return (
            "bad",
            "You are let in here, but not by the cluster",
            (
                "Your sign-in is right. But the API server does not let this proxy speak for you, "
                "or for one of your groups, so it refuses everything. Signing in again does not "
                "help."
            ),
        )
    if rbac["nothing_beyond_discovery"]:
        return (
            "wait",
            "You are let in, and may do nothing yet",
            (
                "Your sign-in is right. What is missing is a right in the cluster, and somebody "
                "who runs it must give it to you."
            ),
        )
    return "good", "You are let in", "The cluster sees you as this user."


def _help(account: Account, error: ProxyError, now: float) -> Markup:
    token = account["token"] or {}
    lines = [f"reason: {error.label}", f"at: {_moment(now)}"]
    if account["speaks_of"] is not None:
        lines.append(f"user: {account['speaks_of']}")
    if token.get("issuer"):
        lines.append(f"token from: {token['issuer']}")
    if token.get("audience"):
        lines.append(f"token for: {', '.join(map(str, token['audience']))}")
    return _section(
        "help", "What to do", *_advice(yourself(error), error.mend), _pre("\n".join(lines))
    )


@cache
def _advice(to_you: str, to_operators: str) -> tuple[Markup, ...]:
    """Return what is the same for every error of one kind; both texts are ours, so they are few."""
    return (
        _el("h3", "You"),
        _el("p", to_you),
        _el("h3", "Those who run this cluster"),
        _el("p", *_marked(to_operators)),
        _el("p", "Send them these lines; their log has the same reason, and says more:"),
    )


def _who(account: Account) -> Markup:
    user = account["user"] or {}
    facts = [("User", _code(account["speaks_of"]))]
    if user.get("uid"):
        facts.append(("UID", _code(user["uid"])))
    for key, values in (user.get("extra") or {}).items():
        facts.append((key, _code(", ".join(values))))
    children: list[Child] = [_facts(facts)]
    if account["groups"]:
        rows = [
            _el(
                "tr", _el("td", _code(entry["group"])), *_origin((*entry["claims"],), entry["sent"])
            )
            for entry in account["groups"]
        ]
        children.append(_table("Your groups", ["Group", "From the claim", "Counts"], rows))
    if note := _group_note(account):
        children.append(_el("p", note, cls="soft"))
    return _section("who", "Who you are", *children)


@lru_cache(64)
def _origin(claims: tuple[str, ...], sent: bool) -> tuple[Markup, Markup]:
    """Return the cells that hundreds of groups have in common; claims are the configured ones."""
    return (
        _el("td", _listed(claims) if claims else "added here, to everybody"),
        _el("td", "yes" if sent else "no"),
    )


def _group_note(account: Account) -> str:
    """Say what became of groups, where the table alone leaves a question."""
    steps = {step["step"]: step for step in account["steps"]}
    guard, mapping = steps.get("guard", {}), steps.get("mapping", {})
    if guard.get("refused"):
        return f"Refused: {guard['reason']}."
    if guard.get("dropped_groups"):
        return "Groups that do not count here are left out on purpose; that is no error."
    source = mapping.get("groups_from", {})
    if not any(entry["claims"] for entry in account["groups"]) and "claims" in source:
        looked = ", ".join([*source["claims"], *source["absent"]])
        return f"Your token brings no groups. They would be in: {looked}." if looked else ""
    return ""


def _token(account: Account, now: float) -> Markup:
    token = account["token"]
    facts = []
    if token["issuer"] is not None:
        facts.append(("Issued by", _code(token["issuer"])))
    if token["audience"]:
        facts.append(("Issued for", _listed(token["audience"])))
    if token["not_before"] is not None and token["not_before"] > now:
        facts.append(("Begins", _text(_time(token["not_before"], now))))
    if token["expires_at"] is not None:
        ended = token["expires_at"] < now
        facts.append(("Ended" if ended else "Ends", _text(_time(token["expires_at"], now))))
    if account["error"]:
        facts.append(("Claims in it", _listed(token["claims"])))
    return _section("token", "Your token", _facts(facts))


def _rights(account: Account) -> Markup:
    rbac, user = account["rbac"], account["speaks_of"]
    where = f"in the whole cluster and in the namespace {rbac['namespace']}"
    children: list[Child]
    if rbac["missing"] == "impersonation":
        children = [_el("p", *_marked(_NO_IMPERSONATION))]
    elif rbac["missing"]:
        children = [_el("p", _MISSING[rbac["missing"]])]
    elif rbac["nothing_beyond_discovery"]:
        children = [
            _el("p", f"Nothing beyond discovery, {where}."),
            _el("p", "An administrator can let you see things with this, or bind another role:"),
            _pre(view_binding(user)),
        ]
    else:
        children = [
            _el("p", f"Besides discovery, {where}:"),
            _el("ul", *(_el("li", grant) for grant in rbac["grants"])),
        ]
        if rbac["more"]:
            children.append(_el("p", f"And {rbac['more']} more.", cls="soft"))
    if not rbac["missing"] and not rbac["complete"]:
        error = f": {rbac['error']}" if rbac["error"] else "."
        note = f"The API server says that this list may not be whole{error}"
        children.append(_el("p", note, cls="soft"))
    children.append(
        _el(
            "form",
            _el("label", "Look at another namespace", **{"for": "namespace"}),
            _el("input", id="namespace", name="namespace", value=rbac["namespace"], maxlength="63"),
            _el("button", "Look", type="submit"),
            method="get",
        )
    )
    return _section("rights", "What you may do", *children)


_NO_IMPERSONATION: Final = (
    "Those who run this cluster must add your user name, and each of your groups that counts here, "
    "to the names that the proxy's account may `impersonate`; or drop groups with `--groups-allow`."
)
_MISSING: Final[Mapping[str, str]] = {
    "answer": "The API server did not answer. Reload this page in a moment.",
    "turn": "The API server was asked for you a moment ago. Reload this page in ten seconds.",
}


def _refused(account: Account) -> Markup:
    items = []
    for refusal in account["refused_requests"]:
        times = f", {refusal['count']} times" if refusal["count"] > 1 else ""
        items.append(
            _el(
                "li",
                _code(refusal["words"]),
                _el("span", f" {_ago(refusal['seconds_ago'])}{times}", cls="soft"),
                _el(
                    "details",
                    _el("summary", "The rule that is missing, for an administrator"),
                    _pre(refusal["rule"]),
                ),
            )
        )
    return _section(
        "refused",
        "What you were refused lately",
        _el("p", "By the cluster's own rules (RBAC), in the last quarter of an hour:"),
        _el("ul", *items),
    )


def _steps(account: Account) -> Markup:
    items = []
    for step in account["steps"]:
        facts = {name: value for name, value in step.items() if name != "step"}
        items.append(_el("li", step["step"], _pre(json.dumps(facts, indent=2, ensure_ascii=False))))
    return _el(
        "details", _el("summary", "How this was found, step by step"), _el("ol", *items), cls="all"
    )


# --- The tree ------------------------------------------------------------------------------------


class Markup(str):
    """HTML that stays as it is; any other text is escaped wherever it comes to stand.

    Only ``_el`` makes it, and this module of its own style sheet. Whatever is done to it but
    joining makes a text of it again, which is then escaped: a mistake shows, and lets nothing in.
    """

    __slots__ = ()


def _el(tag: str, *children: Child | None, cls: str = "", **attributes: str) -> Markup:
    """Return an element; its texts are escaped, and hide nothing."""
    given = {"class": cls, **attributes} if cls else attributes
    opening = ""
    for name, value in given.items():
        opening += f' {name}="{_escaped(value)}"'
    if tag in _VOID:
        return Markup(f"<{tag}{opening}>")
    inner = "".join(
        [
            child if isinstance(child, Markup) else _escaped(child)
            for child in children
            if child is not None
        ]
    )
    return Markup(f"<{tag}{opening}>{inner}</{tag}>")


def _escaped(text: str) -> str:
    return escape(_visible(text))


def _visible(text: str) -> str:
    if text.replace("\n", "").isprintable():
        return text
    return "\n".join(map(shown, text.split("\n")))


def _section(name: str, heading: str, *children: Child | None) -> Markup:
    labelled = {"aria-labelledby": name}
    return _el("section", _el("h2", heading, id=name), *children, **labelled)


def _code(text: str) -> Markup:
    return _el("code", text)


def _pre(text: str) -> Markup:
    return _el("pre", text, tabindex="0")


def _text(text: str) -> Markup:
    return _el("span", text)


def _listed(names: Iterable[Any]) -> Markup:
    codes: list[Child] = []
    for name in names:
        codes += [", ", _code(str(name))] if codes else [_code(str(name))]
    return _el("span", *codes)


def _facts(facts: Iterable[tuple[str, Markup]]) -> Markup:
    pairs = [item for name, value in facts for item in (_el("dt", name), _el("dd", value))]
    return _el("dl", *pairs)


def _table(caption: str, names: list[str], rows: list[Markup]) -> Markup:
    head = _el("thead", _el("tr", *(_el("th", name, scope="col") for name in names)))
    return _el("table", _el("caption", caption), head, _el("tbody", *rows))


def _marked(text: str) -> list[Child]:
    """Return a text of ours with what stands between backticks as code."""
    return [
        _code(part) if number % 2 else part for number, part in enumerate(text.split("`")) if part
    ]


# --- Times ---------------------------------------------------------------------------------------


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _time(seconds: int, now: float) -> str:
    left = seconds - round(now)
    return f"{_moment(seconds)}, {_ago(-left) if left <= 0 else f'in {_span(left)}'}"


def _ago(seconds: int) -> str:
    return f"{_span(seconds)} ago" if seconds > 0 else "just now"


def _span(seconds: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "a moment"


# --- What is the same on every page --------------------------------------------------------------

_HEAD: Final = _el(
    "head",
    _el("meta", charset="utf-8"),
    _el("meta", name="viewport", content="width=device-width, initial-scale=1"),
    _el("meta", name="color-scheme", content="light dark"),
    _el("title", _TITLE),
    _el("style", Markup(STYLE)),
)
_OPENING: Final = f'<!doctype html>\n<html lang="en">{_HEAD}<body>{_el("header", _TITLE)}'
_FOOTER: Final = (
    "This page shows only what your own token says and what the cluster says of you; it stores "
    "nothing. It comes from headlamp-auth-proxy, which stands between Headlamp and the cluster."
)
