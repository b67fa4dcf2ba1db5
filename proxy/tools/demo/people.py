"""Who is in the demo, and what they may do: the one place that the issuer and RBAC agree on.

The names are those of deploy/rbac.yaml. A person's groups are what a tailnet policy would grant
with ``extraClaims``; what a group may do is RBAC's business and nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ADMINS: Final = "k8s-admins"
VIEWERS: Final = "k8s-viewers"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and the device they sign in from; a tagged device belongs to nobody."""

    name: str
    uid: int
    groups: tuple[str, ...] = ()
    tagged: bool = False

    @property
    def email(self) -> str:
        return f"{self.name}@example.com"

    @property
    def device(self) -> str:
        return self.name if self.tagged else f"{self.name}-laptop"

    @property
    def described(self) -> str:
        if self.tagged:
            return "a tagged device, which tsidp does not let in"
        return ", ".join(self.groups) or "no groups"


ALICE: Final = Person("alice", 5738291046173829, (ADMINS, VIEWERS))
BOB: Final = Person("bob", 5738291046173830, (VIEWERS,))
CAROL: Final = Person("carol", 5738291046173831)
RUNNER: Final = Person("ci-runner", 5738291046173832, tagged=True)

USERS: Final = (ALICE, BOB, CAROL)
EVERYONE: Final = {person.name: person for person in (*USERS, RUNNER)}
