"""Audit events as a kube-apiserver, and this proxy, write them."""

from __future__ import annotations

import json
from typing import Any

AT = "2026-11-28T06:00:00.000000Z"


def event(audit_id: str = "1", **fields: Any) -> dict[str, Any]:
    """A person's list of pods, at its end; ``fields`` stand in place of, or are added to, its."""
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods?limit=500",
        "verb": "list",
        "user": {"username": "alice@example.com", "groups": ["developers"]},
        "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": AT,
        "stageTimestamp": AT,
        **fields,
    }


def line(audit_id: str = "1", **fields: Any) -> bytes:
    return json.dumps(event(audit_id, **fields)).encode() + b"\n"
