"""The token in a file that was named: a file without one is told from a token that is refused."""

from __future__ import annotations

from proxy.authn.credential import extract
from proxy.errors import TokenMalformed


def token_in(content: bytes) -> bytes:
    """Return the token that a file holds. Raises TokenMalformed if it holds none."""
    token = content.strip(b" \t\r\n")
    if not token:
        raise TokenMalformed("the file is empty")
    try:
        return extract([b"Bearer " + token], None, len(token)).token
    except TokenMalformed:
        detail = "holds no token: it has blanks or other characters that no token has"
        raise TokenMalformed(detail) from None
