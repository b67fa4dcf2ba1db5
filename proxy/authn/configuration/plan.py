"""What an issuer is to this program, from whichever configuration it comes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from proxy.authn.issuer import IssuerSettings
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules


@dataclass(frozen=True, slots=True)
class Plan:
    """One issuer: its tokens, its users, and where its keys are (``jwks_file``: in that file)."""

    rules: TokenRules
    mapping: ClaimMapping
    settings: IssuerSettings
    jwks_file: Path | None = None


class InvalidConfiguration(Exception):
    """A configuration that may not be used; ``problems`` has one line for each reason."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)
