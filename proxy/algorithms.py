"""The signature algorithms that a token may be made with, if the configuration says so.

They are those that kube-apiserver can be told to accept (k8s.io/apiserver, plugin oidc.go): public
keys only. ``none`` and the symmetric ones are not here, so nobody can configure them.
"""

from __future__ import annotations

from typing import Final

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512"),
    *("PS256", "PS384", "PS512"),
)
