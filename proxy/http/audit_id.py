"""One name for each request, under which everybody who saw it speaks of it.

It is what Kubernetes calls the audit ID: the API server takes over the ``Audit-Id`` that a request
brings (k8s.io/apiserver, pkg/endpoints/filters/audit_init.go), so its audit event, this proxy's,
the lines in the logs and what the client was told all carry the same one. It is always made here:
who could choose it could give a request the name of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

_BATCH: Final = 256  # requests for which the kernel is asked once
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _random_ids() -> Iterator[str]:
    """Yield random UUIDs (version 4, RFC 9562) as kube-apiserver writes them, for ever."""
    while True:
        digits = os.urandom(16 * _BATCH).hex()
        for at in range(0, len(digits), 32):
            d = digits[at : at + 32]
            yield f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{_VARIANT[d[16]]}{d[17:20]}-{d[20:]}"


_ids: Final = _random_ids()


def new_audit_id() -> str:
    """Return an ID that no other request has."""
    return next(_ids)
