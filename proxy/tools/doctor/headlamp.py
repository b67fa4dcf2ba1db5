"""What Headlamp says of itself to whoever asks: its clusters, and what it asks of its issuer.

``/config`` lists the clusters, and ``/oidc?cluster=NAME`` answers with the very redirect that a
browser follows to the issuer, so client id, callback and scopes need not be believed but can be
seen. Source: Headlamp 0.45, backend/cmd/headlamp.go.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import aiohttp

from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask

TRIES: Final = 3  # of two replicas, one that does not know the login is met in seven of eight
MADE_UP_CODE: Final = "made-up-by-headlamp-auth-proxy-doctor"
IN_POD: Final = "http://127.0.0.1:4466"  # where Headlamp's own container listens, of the same pod


@dataclass(frozen=True, slots=True)
class Asks:
    """What Headlamp asks of its issuer for a browser."""

    endpoint: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    pkce: bool

    def at(self, metadata: Mapping[str, Any]) -> bool:
        """Say whether people are sent to the issuer that ``metadata`` describes."""
        return _bare(self.endpoint) == _bare(str(metadata.get("authorization_endpoint")))


@dataclass(frozen=True, slots=True)
class Seen:
    """A Headlamp that answered at ``url``; ``refusal`` is why it does not ask its issuer."""

    url: str
    tls: ssl.SSLContext | None
    clusters: Mapping[str, str]  # name -> kind of login
    cluster: str = ""
    asks: Asks | None = None
    refusal: Answer | None = None
    exchanges: tuple[Answer, ...] = ()  # its answers to logins that came back with a made-up code

    @property
    def in_pod(self) -> bool:
        return self.url == IN_POD


def clusters_of(config: Any) -> dict[str, str] | None:
    """Return the clusters of ``/config``, or None if it is not Headlamp's."""
    if not isinstance(config, dict) or "clusters" not in config:
        return None
    listed = config["clusters"]
    clusters = listed if isinstance(listed, list) else []  # null where there is none
    return {
        str(cluster["name"]): str(cluster.get("auth_type", ""))
        for cluster in clusters
        if isinstance(cluster, dict) and "name" in cluster
    }


def asks_of(location: str) -> Asks | None:
    """Return what a redirect to an issuer asks, or None if it is no such one."""
    parts = urlsplit(location)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "client_id" not in query or "redirect_uri" not in query:
        return None
    return Asks(
        endpoint=parts._replace(query="", fragment="").geturl(),
        client_id=query["client_id"],
        redirect_uri=query["redirect_uri"],
        scopes=tuple(query.get("scope", "").split()),
        pkce="code_challenge" in query,
    )


def _bare(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}"


async def look(
    session: aiohttp.ClientSession,
    url: str,
    tls: ssl.SSLContext | None,
    clusters: Mapping[str, str],
) -> Seen:
    """Have a Headlamp say what it asks of its issuer. Raises NoAnswer."""
    cluster = next((name for name, kind in clusters.items() if kind == "oidc"), "")
    cluster = cluster or next(iter(clusters), "main")
    answer = await ask(session, f"{url}/oidc?cluster={quote(cluster)}", tls=tls)
    asks = asks_of(answer.location) if 300 <= answer.status < 400 else None
    if asks is None:
        return Seen(url, tls, clusters, cluster, refusal=answer)
    exchanges = [await _exchange(session, url, tls, cluster) for _ in range(TRIES)]
    return Seen(url, tls, clusters, cluster, asks, exchanges=tuple(filter(None, exchanges)))


async def _exchange(
    session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None, cluster: str
) -> Answer | None:
    """Begin a login and come back with a code that nobody gave, each over a new connection."""
    apart = {"Connection": "close"}
    try:
        answer = await ask(session, f"{url}/oidc?cluster={quote(cluster)}", tls=tls, headers=apart)
        state = dict(parse_qsl(urlsplit(answer.location).query)).get("state")
        if not state:
            return None
        query = urlencode({"state": state, "code": MADE_UP_CODE})
        return await ask(session, f"{url}/oidc-callback?{query}", tls=tls, headers=apart)
    except NoAnswer:
        return None
