"""Who asks what, in the audit's tests."""

from __future__ import annotations

from typing import Any

from proxy.denial import Bearer
from proxy.http.service import Admission
from tests.http.conftest import identity
from tests.observed import Observed

PODS = b"/api/v1/pods"


def admitted(name: str) -> Admission:
    return Admission(identity(name), Bearer(name))


def asking(admission: Admission, target: bytes = PODS, **others: Any) -> Observed:
    """Return a request that is answered with 200 and has not ended, unless ``others`` differ."""
    usual: dict[str, Any] = {"method": b"GET", "user_agent": b"kubectl", "kind": "unary"}
    return Observed(admission, target=target, **usual | {"ended_at": 0.0} | others)
