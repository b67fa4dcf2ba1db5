"""An error as the ``Status`` object that every Kubernetes client can read.

kubectl prints ``message``, client-go decides by ``reason`` and ``code``, and Headlamp shows
``message`` inside its pages (any body without one shows as "Unreachable"). ``details.causes``
carries the stable label for programs. The message ends with the audit ID, for whoever shows it to
those who can look into a log; beside that nothing of the request is in it.
Source: k8s.io/apimachinery/pkg/apis/meta/v1/types.go, Status.
"""

from __future__ import annotations

import json

from proxy.errors import ProxyError

# Headlamp reaches what is here below the path of the cluster, whose name only Headlamp knows.
PAGE_HINT = " More: /.auth-proxy/whoami (in Headlamp: /clusters/NAME/.auth-proxy/whoami)."


def status_body(error: ProxyError, audit_id: str, *, has_page: bool = False) -> bytes:
    """Return the JSON document for ``error``, newline at the end, as kube-apiserver writes it.

    With ``has_page``, the message says where to read on, for errors about which there is more.
    """
    cause = {"reason": error.label, "message": error.message}
    if error.field:
        cause["field"] = error.field
    details: dict[str, object] = {"causes": [cause]}
    if error.retry_after is not None:
        details["retryAfterSeconds"] = error.retry_after
    hint = PAGE_HINT if has_page and error.has_story else ""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{error.message}{hint} (audit ID {audit_id})",
        "reason": error.reason,
        "details": details,
        "code": error.code,
    }
    return json.dumps(status, separators=(",", ":")).encode() + b"\n"
