"""Mends that name a flag, for those who have a file of --authentication-config in its place.

Pure. Each setting of an issuer has a field there (AuthenticationConfiguration of
apiserver.config.k8s.io).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from proxy.tools.doctor.verdict import Verdict

_FIELDS: Final = {
    "issuer-url": "jwt[].issuer.url: {value}",
    "discovery-url": "jwt[].issuer.discoveryURL: {value}",
    "ca-file": "jwt[].issuer.certificateAuthority: {value}",
    "client-id": "jwt[].issuer.audiences: [{value}]",
    "username-claim": "jwt[].claimMappings.username.claim: {value}",
    "groups-claim": "jwt[].claimMappings.groups.claim: {value}",
    "required-claim": "jwt[].claimValidationRules: {value}",
}
_FLAG: Final = re.compile(r"--oidc-([a-z]+(?:-[a-z]+)*)(?:=(\S*))?")


def in_file(verdict: Verdict) -> Verdict:
    """Return a verdict whose mend speaks of the file's fields, where it spoke of flags."""

    def written(found: re.Match[str]) -> str:
        field = _FIELDS.get(found[1])
        if field is None:
            return found[0]
        if found[2] is None:
            return field.partition(":")[0]
        return field.format(value=found[2])

    return replace(verdict, mend=_FLAG.sub(written, verdict.mend))
