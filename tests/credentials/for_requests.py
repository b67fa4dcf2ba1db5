"""A credential as requests ask for it: between two looks they take its line as it is."""

from __future__ import annotations

from typing import cast

from proxy.credentials.credential import Credential
from proxy.impersonation import Policy
from proxy.reviews.self_check import Questions, SelfCheck, WithheldCredential


def for_requests(credential: Credential) -> WithheldCredential:
    """Return what gives requests this credential; nothing is asked about our own account."""
    return WithheldCredential(credential, SelfCheck(cast("Questions", None), Policy("ours")))
