"""From flags, environment and file to one ``Config`` that is whole, checked and frozen.

Every setting is declared once, as a field of ``Config`` (``model``); flags, environment names,
file keys, help and the table in the documentation are derived from that. ``load`` is pure but
for the two functions that read files, which it is given; it either returns a ``Config`` that
needs no further look, or raises ``ConfigError`` with every problem at once.
"""

from __future__ import annotations

from proxy.config.address import Address
from proxy.config.load import load
from proxy.config.model import Config
from proxy.config.report import ConfigError

__all__ = ["Address", "Config", "ConfigError", "load"]
