"""One name for each request, under which everybody who saw it speaks of it.

It is what Kubernetes calls the audit ID: the API server takes over the ``Audit-Id`` that a request
brings (k8s.io/apiserver, pkg/endpoints/filters/audit_init.go), so its audit event, this proxy's,
the lines in the logs and what the client was told all carry the same one. It is always made here:
who could choose it could give a request the name of another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

_BATCH: Final = 256  # requests for which the kernel is asked once
_VERSION: Final = bytes(byte & 0x0F | 0x40 for byte in range(256))
_VARIANT: Final = bytes(byte & 0x3F | 0x80 for byte in range(256))
_GROUPS: Final = re.compile("(.{8})(.{4})(.{4})(.{4})(.{12})")


def _random_ids() -> Iterator[str]:
    """Yield random UUIDs (version 4, RFC 9562) as kube-apiserver writes them, for ever."""
    while True:
        octets = bytearray(os.urandom(16 * _BATCH))
        octets[6::16] = octets[6::16].translate(_VERSION)
        octets[8::16] = octets[8::16].translate(_VARIANT)
        yield from map("-".join, _GROUPS.findall(octets.hex()))


_ids: Final = _random_ids()


def new_audit_id() -> str:
    """Return an ID that no other request has."""
    return next(_ids)
