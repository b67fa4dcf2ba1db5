"""The last look at a log line: whatever looks like a token is masked, wherever it stands.

No code here logs a token. This is for the code that does so one day, for exception messages of
libraries, and for clients that put a token into a path or a User-Agent. It works on the encoded
line, so that no field, key or traceback can be forgotten.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

MASK: Final = "[redacted]"

# Dot-separated parts of base64url, of which one is a JSON object (RFC 7515, RFC 7516): '{"' encodes
# as eyJ; a brace and a blank, line break or tab as eyA, ewo, ew0, ewk, which names may contain too,
# so those count only where a part begins. The signature may be empty. A run of parts is looked at
# once, from its beginning: however long it is, the time grows with its length and no faster.
_PARTS: Final = re.compile(r"(?<![\w.-])[\w-]++(?:\.[\w-]*+){2,}+", re.ASCII)
_JWT_STARTS: Final = ("eyJ", "eyA", "ew0", "ewk", "ewo")  # looked for first, far quicker
_SHORTEST_FIRST, _SHORTEST_SECOND = 13, 10  # characters of a token's first two parts
# 'Bearer' and what follows, in a header, a URL or an encoded line; but not our own "bearer token".
_BEARER: Final = re.compile(
    r"(bearer(?:[ +]|%20|\\[nrt])+)(?!tokens?(?:[.,;:]?(?:\s|\"|\\|$)))[^\s\"\\]+", re.IGNORECASE
)
# The subprotocol by which a browser brings a token to a WebSocket; the token is base64url in it.
_SUBPROTOCOL: Final = re.compile(r"(base64url\.bearer\.authorization\.k8s\.io\.)[\w-]+", re.ASCII)


def _masked(found: re.Match[str]) -> str:
    parts = found[0].split(".")
    for n, (first, second) in enumerate(pairwise(parts[:-1])):
        at = 0 if first.startswith(_JWT_STARTS) else first.find("eyJ")
        if at >= 0 and len(first) - at >= _SHORTEST_FIRST and len(second) >= _SHORTEST_SECOND:
            return ".".join([*parts[:n], first[:at] + MASK])
    return found[0]


def redact(line: str) -> str:
    """Return an encoded JSON line without tokens; it stays JSON."""
    if "eyJ" in line or "eyA" in line or "ew0" in line or "ewk" in line or "ewo" in line:
        line = _PARTS.sub(_masked, line)
    if "bearer" in line.lower():
        line = _SUBPROTOCOL.sub(rf"\1{MASK}", line)
        line = _BEARER.sub(rf"\1{MASK}", line)
    return line
