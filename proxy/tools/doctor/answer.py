"""One small HTTP answer, with what is worth seeing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``at`` is when it came (unix seconds), ``body`` is None if it is too large."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes | None
    at: float

    @property
    def location(self) -> str:
        """Where a redirect leads, whole."""
        target = self.headers.get("Location", "")
        return str(URL(self.url).join(URL(target, encoded=True))) if target else ""

    @property
    def text(self) -> str:
        return (self.body or b"").decode("utf-8", "replace")

    @property
    def is_page(self) -> bool:
        """Whether it is one for people."""
        start = self.text[:500].lower()
        return "html" in self.headers.get("Content-Type", "") or "<html" in start

    def json(self) -> Any:
        """Return the body as JSON, or None."""
        try:
            return json.loads(self.body or b"")
        except ValueError:
            return None

    @property
    def words(self) -> str:
        """What an error says, short and on one line."""
        text = "an HTML page" if self.is_page else " ".join(self.text.split())[:300]
        return f"{self.status}: {text}" if text else f"{self.status}"
