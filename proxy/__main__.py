"""Lets ``python -m proxy`` be the command, where its script is not installed."""

from __future__ import annotations

import sys

from proxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
