"""Who is locked out, whatever their token says: the contents of ``--deny-file``.

It exists because a token outlives the trust in its bearer: tsidp goes on refreshing the claims of a
user who was removed, for as long as the refresh token lives, which is a month. What is judged is
what the token brings, before anything is dropped or replaced: groups as they are mapped, prefix
included, even those that ``--groups-allow`` would leave out.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.rights import TOKEN_ADDRESSES, TOKEN_ID, TOKEN_ISSUER, TOKEN_NODE, TOKEN_SUBJECT


class InvalidDenyList(Exception):
    """The document is not a deny list; the message says where and what to change."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks of: the user as mapped, and the claims ``iss``, ``sub`` and ``jti``.

    ``node`` and ``addresses`` are tsidp's claims about the device that it was issued to. What the
    token does not say is empty, and matches nothing.
    """

    username: str
    groups: tuple[str, ...] = ()
    issuer: str = ""
    subject: str = ""
    token_id: str = ""
    node: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, tuple[str, ...]]:
        """What the token says about where it came from, under the keys of ``rights``."""
        facts = {
            TOKEN_ISSUER: (self.issuer,),
            TOKEN_SUBJECT: (self.subject,),
            TOKEN_ID: (self.token_id,),
            TOKEN_NODE: (self.node,),
            TOKEN_ADDRESSES: self.addresses,
        }
        return {key: values for key, values in facts.items() if any(values)}


@dataclass(frozen=True, slots=True)
class DenyList:
    """Who is denied. ``subjects`` are pairs of issuer (empty: any) and subject."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    subjects: frozenset[tuple[str, str]] = frozenset()
    token_ids: frozenset[str] = frozenset()

    def denies(self, bearer: Bearer) -> bool:
        return (
            bearer.username in self.users
            or bearer.token_id in self.token_ids
            or ("", bearer.subject) in self.subjects
            or (bearer.issuer, bearer.subject) in self.subjects
            or not self.groups.isdisjoint(bearer.groups)
        )

    @property
    def size(self) -> int:
        return len(self.users) + len(self.groups) + len(self.subjects) + len(self.token_ids)
