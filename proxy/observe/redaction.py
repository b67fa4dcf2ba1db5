"""The last look at a log line: whatever looks like a token is masked, wherever it stands.

No code here logs a token. This is for the code that does so one day, for exception messages of
libraries, and for clients that put a token into a path or a User-Agent. It works on the encoded
line, so that no field, key or traceback can be forgotten.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "[redacted]"

# Dot-separated parts of base64url, the first a JSON object (RFC 7515, RFC 7516): '{"' encodes as
# eyJ; a brace and a blank, line break or tab as eyA, ewo, ew0, ewk, which names may contain too, so
# those count only where a word begins. The signature may be empty.
_JWT: Final = re.compile(r"(?:eyJ|\be(?:yA|w[0ko]))[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)+", re.ASCII)
_JWT_STARTS: Final = ("eyJ", "eyA", "ew0", "ewk", "ewo")  # looked for first, far quicker
# 'Bearer' and what follows, in a header, a URL or an encoded line; but not our own "bearer token".
_BEARER: Final = re.compile(
    r"(bearer(?:[ +]|%20|\\[nrt])+)(?!tokens?(?:[.,;:]?(?:\s|\"|\\|$)))[^\s\"\\]+", re.IGNORECASE
)
# The subprotocol by which a browser brings a token to a WebSocket; the token is base64url in it.
_SUBPROTOCOL: Final = re.compile(r"(base64url\.bearer\.authorization\.k8s\.io\.)[\w-]+", re.ASCII)


def redact(line: str) -> str:
    """Return an encoded JSON line without tokens; it stays JSON."""
    if any(start in line for start in _JWT_STARTS):
        line = _JWT.sub(MASK, line)
    if "bearer" in line.lower():
        line = _SUBPROTOCOL.sub(rf"\1{MASK}", line)
        line = _BEARER.sub(rf"\1{MASK}", line)
    return line
