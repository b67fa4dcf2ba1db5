"""The one way in which a demo cannot go on."""

from __future__ import annotations


class DemoError(Exception):
    """Something could not be started; the message says what, and what to do."""
