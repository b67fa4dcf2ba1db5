"""Builds the page that says who somebody is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.authn.authenticator import Authenticator
from proxy.config import Config
from proxy.gate import Gate
from proxy.impersonation import Policy
from proxy.refusals import Refusals
from proxy.review_gate import ReviewGate
from proxy.reviews.client import Reviewer
from proxy.reviews.grants import UserGrants
from proxy.whoami.page import OwnCredential, Whoami

if TYPE_CHECKING:
    from proxy.deny_file import DenyFile


def page_of(
    config: Config,
    gate: Gate | ReviewGate,
    authenticator: Authenticator,
    policy: Policy,
    credential: OwnCredential,
    denial: DenyFile | None,
    reviewer: Reviewer,
    refusals: Refusals,
) -> Whoami | None:
    """Make the page that says who somebody is, where it is wanted."""
    if not config.whoami:
        return None
    return Whoami(
        gate.recall if isinstance(gate, ReviewGate) else gate.admit,
        authenticator,
        policy,
        denial=denial,
        credential=credential,
        grants=UserGrants(reviewer),
        refusals=refusals,
        max_token_bytes=config.max_token_bytes,
    )
