"""The API server's refusals, in its own words.

Source: k8s.io/apimachinery/pkg/api/errors/errors.go and
k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]


class ApiError(Exception):
    """A request that ends with a ``Status``; ``code`` is its HTTP status."""

    def __init__(
        self, code: int, reason: str, message: str, details: Document | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    @property
    def status(self) -> Document:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def success(details: Document) -> Document:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(message: str, resource: str = "", group: str = "", name: str = "") -> ApiError:
    """``message``: who cannot do what; put behind the thing that it is about, if there is one."""
    if not resource:
        return ApiError(403, "Forbidden", f"forbidden: {message}")
    qualified = f"{resource}.{group}" if group else resource
    thing = f"{qualified} {quoted(name)}" if name else qualified
    details = {"name": name, "group": group, "kind": resource}
    present = {key: value for key, value in details.items() if value}
    return ApiError(403, "Forbidden", f"{thing} is forbidden: {message}", present)


def not_found(resource: str, name: str) -> ApiError:
    details = {"name": name, "kind": resource}
    return ApiError(404, "NotFound", f"{resource} {quoted(name)} not found", details)


def not_served() -> ApiError:
    message = "the server could not find the requested resource"
    return ApiError(404, "NotFound", message)


def not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def already_exists(resource: str, name: str) -> ApiError:
    details = {"name": name, "kind": resource}
    return ApiError(409, "AlreadyExists", f"{resource} {quoted(name)} already exists", details)


def unsupported_media_type() -> ApiError:
    message = "the body of the request was in an unknown format - accepted media types include: "
    known = "application/json,application/vnd.kubernetes.protobuf"
    return ApiError(415, "UnsupportedMediaType", message + known)


def quoted(text: str) -> str:
    """Return ``text`` as Go's %q shows it."""
    return json.dumps(text, ensure_ascii=False)
