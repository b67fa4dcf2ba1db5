"""The second gate, where the API server itself is asked about a request; both settings are off.

It stands around the first one. With ``--token-passthrough``, a token that cannot be of a configured
issuer is put to TokenReview; whoever the API server knows by it is passed through with that token
and without anything of ours. With ``--allow-impersonation``, a user who has passed the first gate
and asks to be somebody else is checked by SubjectAccessReview. In neither way can a request get
more than it would at the API server without this proxy.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol

from proxy.authn.authenticator import Authenticator
from proxy.authn.credential import Credential, extract
from proxy.authn.trace import Trace
from proxy.denial import Bearer
from proxy.errors import (
    ImpersonationNotAllowed,
    Internal,
    IssuerUnknown,
    ProxyError,
    TokenMalformed,
)
from proxy.http.head import RequestHead
from proxy.http.service import Admission, Gate
from proxy.impersonation import Impersonation, Policy, impersonate_requested
from proxy.limits import MAX_TOKEN_BYTES
from proxy.reviews.impersonators import Impersonators
from proxy.reviews.requested import requested
from proxy.reviews.tokens import TokenReviews
from proxy.speaker import PassedThrough


class FirstGate(Gate, Protocol):
    """A gate that lets it be seen how it looked at a token."""

    def admit(
        self, head: RequestHead, now: float, trace: Trace | None = None
    ) -> Admission | Awaitable[Admission]: ...


class ReviewGate:
    """Admits requests; satisfies ``http.service.Gate``.

    Without ``tokens`` nothing is passed through; without ``impersonators`` the first gate must
    refuse impersonation itself.
    """

    def __init__(
        self,
        gate: FirstGate,
        authenticator: Authenticator,
        policy: Policy,
        *,
        tokens: TokenReviews | None,
        impersonators: Impersonators | None,
        max_token_bytes: int = MAX_TOKEN_BYTES,
    ) -> None:
        self._gate = gate
        self._authenticator = authenticator
        self._policy = policy
        self._tokens = tokens
        self._impersonators = impersonators
        self._max_token_bytes = max_token_bytes

    def admit(self, head: RequestHead, now: float) -> Admission | Awaitable[Admission]:
        """Return the identity for a request, at once where nobody need be asked.

        ``now`` in unix seconds. Raises the ``ProxyError`` that the request is to be answered with.
        """
        try:
            admission = self._gate.admit(head, now)
        except (TokenMalformed, IssuerUnknown) as refusal:
            return self._pass_through(head, self._tokens, refusal)
        if head.impersonates:
            return self._as_requested(head, admission)
        return admission

    def recall(
        self, head: RequestHead, now: float, trace: Trace | None = None
    ) -> Admission | Awaitable[Admission]:
        """As ``admit``, but the API server is asked nothing, whoever it is that comes.

        Whom it knows by their token is known from their requests of the last seconds, and nobody
        is anybody else but themselves.
        """
        try:
            return self._gate.admit(head, now, trace)
        except (TokenMalformed, IssuerUnknown):
            credential = self._credential(head)
            if self._tokens is None or self._authenticator.names_trusted(credential.token):
                raise
            client = self._tokens.recall(credential.token)
            if client is None:
                raise
            return _passed_through(client, credential)

    def _credential(self, head: RequestHead) -> Credential:
        websocket = head.websocket_protocols if head.upgrade == b"websocket" else None
        return extract(head.authorization, websocket, self._max_token_bytes)

    def _pass_through(
        self, head: RequestHead, tokens: TokenReviews | None, refusal: ProxyError
    ) -> Awaitable[Admission]:
        """Have the API server say whose token it is, unless it claims a configured issuer."""
        credential = self._credential(head)
        if tokens is None or self._authenticator.names_trusted(credential.token):
            raise refusal

        async def identify() -> Admission:
            client = await tokens.identify(credential.token)
            if head.impersonates:
                raise ImpersonationNotAllowed("of a client that is passed through")
            return _passed_through(client, credential)

        return identify()

    async def _as_requested(
        self, head: RequestHead, admitted: Admission | Awaitable[Admission]
    ) -> Admission:
        """Return the identity that an admitted user asks for, if they may."""
        admission = await admitted if inspect.isawaitable(admitted) else admitted
        asking = admission.identity
        if self._impersonators is None or not isinstance(asking, Impersonation):
            raise Internal("[unexpected] a request to impersonate has passed the first gate")
        try:
            wanted = requested(head.impersonation)
            identity = impersonate_requested(wanted, asking, self._policy)
            await self._impersonators.check(asking, wanted)
        except ProxyError as error:
            error.bearer = admission.bearer
            raise
        return replace(admission, identity=identity)


def _passed_through(client: PassedThrough, credential: Credential) -> Admission:
    return Admission(client, Bearer(client.username, client.groups), credential.protocols)
