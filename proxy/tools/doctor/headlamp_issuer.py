"""What Headlamp says of its issuer, held against what this proxy is told of it.

Pure. Headlamp puts the words of go-oidc into its answer when it cannot even send people there; they
name what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.examination import Provider
from proxy.tools.doctor.headlamp import Seen
from proxy.tools.doctor.tsidp import on_tailnet
from proxy.tools.doctor.verdict import Verdict, failed

# go-oidc, oidc.go: now "(%q) did not match the issuer URL returned by provider (%q)", and before.
_MISMATCH: Final = re.compile(r"did not match the issuer.*(?:got |\()\"?([^\s\")]+)\"?\)?\s*$")
_WAY: Final = re.compile(r"x509:|failed to verify certificate|dial tcp|no such host|deadline|EOF")
_HOST: Final = re.compile(r'(?:Get|Post) \\?"https?://([^/"\\:]+)')


def headlamp_and_issuer(seen: Seen | None, providers: Sequence[Provider]) -> Iterator[Verdict]:
    """Yield what stands between Headlamp and the issuer."""
    if seen is None:
        return
    if not seen.clusters:
        yield failed(
            causes.HEADLAMP_NO_CLUSTER,
            "Headlamp lists no cluster: when it started, its service account's files were missing",
            "kubectl -n headlamp rollout restart deployment/headlamp  # with the proxy as a native "
            "sidecar or behind `prepare`, so that ca.crt and token are there first",
        )
    elif seen.refusal is not None:
        yield _refusal(seen, seen.refusal)
    elif seen.asks is not None and providers:
        if not any(seen.asks.at(provider.metadata) for provider in providers):
            endpoint = providers[0].metadata.get("authorization_endpoint")
            yield failed(
                causes.HEADLAMP_OTHER_ISSUER,
                f"Headlamp sends people to {seen.asks.endpoint}, the issuer's is {endpoint}",
                f"-oidc-idp-issuer-url={providers[0].plan.rules.issuer}  # Headlamp's flag; in the "
                f"Secret of its chart: OIDC_ISSUER_URL; or name that issuer to this proxy",
            )
        for words in {answer.words for answer in seen.exchanges if _WAY.search(answer.words)}:
            yield cannot_reach(f"Headlamp cannot redeem a code: {words}", words)


def _refusal(seen: Seen, answer: Answer) -> Verdict:
    words = answer.words
    saw = f"Headlamp cannot send anybody to the issuer: {words}"
    if seen.clusters.get(seen.cluster) != "oidc" or answer.status == 404:
        return failed(
            causes.HEADLAMP_OIDC_OFF,
            f"Headlamp offers no OIDC login for the cluster {seen.cluster}",
            "give Headlamp all of -oidc-client-id, -oidc-client-secret, -oidc-idp-issuer-url and "
            "-oidc-scopes=email,profile (config.oidc of its chart), and -in-cluster",
        )
    if (found := _MISMATCH.search(answer.text.strip())) is not None:
        got = found[1]
        return failed(
            causes.HEADLAMP_ISSUER_MISMATCH,
            saw,
            f"-oidc-idp-issuer-url={got}  # Headlamp's flag; in the Secret of its chart: "
            f"OIDC_ISSUER_URL={got}",
        )
    return cannot_reach(saw, words)


def cannot_reach(saw: str, words: str) -> Verdict:
    """Say why Headlamp does not get to the issuer, by the words of Go's HTTP client."""
    if "x509:" in words or "failed to verify certificate" in words:
        return failed(
            causes.HEADLAMP_DISTRUSTS_ISSUER,
            saw,
            "-oidc-ca-file=/oidc/ca.crt  # Headlamp's flag, with the CA mounted into its container",
        )
    host = _HOST.search(words)
    if host is not None and on_tailnet(host[1]):
        mend = (
            "HTTPS_PROXY=http://localhost:1055 in the environment of Headlamp's container, with a "
            "Tailscale sidecar in its pod (or an egress Service: docs/recipes/tsidp.md)"
        )
    else:
        mend = "let Headlamp's pod reach the issuer: DNS, NetworkPolicy, -oidc-idp-issuer-url"
    return failed(causes.HEADLAMP_CANNOT_REACH_ISSUER, saw, mend)
