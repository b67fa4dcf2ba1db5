"""The arguments of ``demo``; what they need is loaded once they are known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

DETAILS: Final = """\
Starts an issuer like tsidp, an API server (kube-apiserver and etcd where KUBEBUILDER_ASSETS or
PATH has them, else a small sample), and the proxy, all on loopback. On a terminal it prints what
to try and runs until Ctrl-C.

  --once   Take the tour at once and exit: 0 if all of it held. Implied where standard output is
           no terminal.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the demo, or its credential plugin; return the exit status."""
    match list(arguments):
        case ["credential", *rest]:
            from proxy.tools.demo import credential

            return credential.run(rest)
        case [] | ["--once"]:
            from proxy.tools.demo.run import run

            return run(once=bool(arguments))
        case [unknown, *_]:
            sys.stderr.write(f"demo takes --once and nothing else, but got {unknown!a}\n")
    return 2
