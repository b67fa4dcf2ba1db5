"""What was looked at on a token's way, step by step, for whoever asks why.

Deciding code is given a ``Trace`` by ``explain`` and None by everybody else: the same code decides
in both cases, and a request pays for one comparison with None.
"""

from __future__ import annotations

from typing import Any

from proxy.authn.jws import UnverifiedToken


class Trace:
    """Steps in their order; each is a dict whose ``step`` says which one it is.

    ``token`` is what was read of the token, if it could be read; nothing of it is verified.
    """

    def __init__(self) -> None:
        self.token: UnverifiedToken | None = None
        self.steps: list[dict[str, Any]] = []

    def note(self, step: str, **facts: Any) -> None:
        """Add a step. Facts are JSON values; never a token or a key."""
        self.steps.append({"step": step, **facts})
