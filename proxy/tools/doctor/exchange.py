"""What Headlamp makes of a login that comes back with a made-up code.

Pure. Where the issuer looks at the client before the code, it shows Headlamp's own secret; and it
shows that a login is begun and ended by one and the same Headlamp, which keeps what it knows of it
in memory (backend/cmd/headlamp.go, /oidc-callback).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.examination import Provider
from proxy.tools.doctor.headlamp import Seen
from proxy.tools.doctor.tsidp import is_tsidp
from proxy.tools.doctor.verdict import Verdict, failed, ok

_CLIENT: Final = re.compile(r"invalid_client|unauthorized_client|\b401\b", re.IGNORECASE)
_CODE: Final = re.compile(
    r"invalid_grant|code not found|\bcode\b.*\b(?:invalid|expired)", re.IGNORECASE
)


def exchanged(seen: Seen | None, client_id: str, provider: Provider) -> Iterator[Verdict]:
    """Yield what the answers to made-up codes tell."""
    if seen is None or not seen.exchanges:
        return
    strangers = [answer for answer in seen.exchanges if _is_strange(answer)]
    if strangers and len(strangers) < len(seen.exchanges):
        yield failed(
            causes.HEADLAMP_REPLICAS,
            f"of {len(seen.exchanges)} logins, {len(strangers)} came back to a Headlamp that did "
            "not begin them",
            "kubectl -n headlamp scale deployment/headlamp --replicas=1  # replicaCount: 1",
        )
    telling = [answer for answer in seen.exchanges if not _is_strange(answer)]
    if not telling:
        return
    words = telling[0].words
    if _CLIENT.search(words):
        yield failed(
            causes.SECRET_WRONG,
            f"with Headlamp's own secret, the issuer does not know its client: {words}",
            f"copy the secret of the client {client_id} from the issuer anew: kubectl -n headlamp "
            'patch secret headlamp-oidc -p \'{"stringData":{"OIDC_CLIENT_SECRET":"..."}}\'',
        )
    elif proves_secret(seen, provider):
        yield ok("the issuer takes Headlamp's own secret: it goes on to look at the code")


def proves_secret(seen: Seen | None, provider: Provider) -> bool:
    """Say whether the issuer has taken Headlamp's secret; tsidp looks at the code before it."""
    if seen is None or is_tsidp(provider.metadata):
        return False
    return any(_CODE.search(answer.words) for answer in seen.exchanges)


def _is_strange(answer: Answer) -> bool:
    return answer.status == 400 and "invalid request" in answer.text.lower()
