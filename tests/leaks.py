"""What is secret in this test process, and the search for it.

Whoever makes a secret, or gets one, hands it out here.

Tokens are searched for by their parts that are secret, so that no half of one goes unseen; keys by
their lines, however a sink breaks them. ``SHAPES`` find what nobody here has handed out: tokens
that another process has made.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

SHORTEST = 20  # characters of a token's part, or of a key's line, that no sink holds by chance
SHORTEST_OPAQUE = 10  # characters of a secret without parts
SHAPES = {
    "a token": re.compile(rb"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"),
    "a private key": re.compile(rb"PRIVATE KEY-----"),
    "a WebSocket's bearer token": re.compile(rb"base64url\.bearer\.authorization\.k8s\.io\.[\w-]"),
    "a basic credential": re.compile(rb"\b[Bb]asic (?=[a-z]*[A-Z0-9+/])[\w+/]{8,}"),
}
IN_ANSWERS = ("id_token", "access_token", "refresh_token", "client_secret")  # RFC 6749, RFC 7591

# What a secret as a rule is all of: where a sink has little of it, thousands are soon looked for.
_WORD = re.compile(rb"[\w.+/=-]{%d,}" % SHORTEST_OPAQUE)
_handed_out: set[str] = set()


def hand_out(*secrets: str) -> None:
    """Have these searched for, each as a whole."""
    _handed_out.update(secret for secret in secrets if len(secret) >= SHORTEST_OPAQUE)


def hand_out_token(token: str) -> None:
    """Have a token's payload and signature searched for; its header says nothing of anybody."""
    _handed_out.update(of_token(token))


def hand_out_answer(text: str) -> None:
    """Have the secrets in an issuer's answer searched for, if it is one that has any."""
    try:
        answer = json.loads(text)
    except ValueError:
        return
    if isinstance(answer, dict):
        for name in IN_ANSWERS:
            hand_out_token(str(answer.get(name, "")))


def handed_out() -> set[str]:
    """Return what is to be searched for, as of now."""
    return _handed_out.copy()


def search(written: Mapping[str, bytes], own: Iterable[str] = ()) -> None:
    """Raise AssertionError if a secret is in one of these, by name.

    That is what was handed out, what is somebody's ``own``, and what has the shape of a secret.
    """
    words = {name: b"\n".join({*_WORD.findall(data)}) for name, data in written.items()}
    for secret in handed_out().union(own):
        sought = secret.encode()
        searched = words if _WORD.fullmatch(sought) else written
        found = [name for name, data in searched.items() if sought in data]
        assert not found, f"the secret {secret[:24]!r}... is in {', '.join(found)}"
    for kind, shape in SHAPES.items():
        found = [name for name, data in written.items() if shape.search(data)]
        assert not found, f"what looks like {kind} is in {', '.join(found)}"


def of_token(token: str) -> set[str]:
    """Return what is secret of a token of any kind."""
    parts = token.split(".")
    if len(parts) == 3:  # RFC 7515, section 3.1
        return {part for part in parts[1:] if len(part) >= SHORTEST}
    return {token} if len(token) >= SHORTEST_OPAQUE else set()


def of_key(pem: str) -> set[str]:
    """Return the lines of the private keys in a PEM text."""
    keys = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", pem, re.DOTALL)
    return {line for key in keys for line in key.splitlines() if len(line) >= SHORTEST}


def of_flags(argv: Sequence[str]) -> set[str]:
    """Return the secrets that a ``serve`` with these arguments has of its own."""
    found: set[str] = set()
    for path in files(argv, "upstream-token-file"):
        found |= of_token(path.read_text().strip())
    for path in files(argv, "kubeconfig", "audit-webhook-config-file"):
        found |= of_kubeconfig(path)
    keys = [*files(argv, "tls-private-key-file")]
    for folder in values(argv, "cert-dir"):
        keys += [path for path in Path(folder or "/nowhere").glob("*") if path.is_file()]
    for path in keys:
        found |= of_key(path.read_text())
    return found


def of_kubeconfig(path: Path) -> set[str]:
    """Return the secrets in a kubeconfig, and in the files that it names."""
    document = yaml.load(path.read_text(), yaml.CSafeLoader)  # in C: each Serve has one
    users = document.get("users") if isinstance(document, dict) else None
    found: set[str] = set()
    for entry in users or ():
        user: Mapping[str, Any] = entry.get("user") or {}
        found |= of_token(str(user.get("token", ""))) | of_token(str(user.get("password", "")))
        if data := user.get("client-key-data"):
            found |= {str(data)} | of_key(base64.b64decode(data).decode())
        for name, read in (("tokenFile", of_token), ("client-key", of_key)):
            named = path.parent / str(user.get(name, ""))
            if named.is_file():
                found |= read(named.read_text().strip())
    return found


def values(argv: Iterable[str], flag: str) -> list[str]:
    """Return every value that a flag is given, those that others replace too."""
    return [x.removeprefix(f"--{flag}=") for x in argv if x.startswith(f"--{flag}=")]


def files(argv: Sequence[str], *flags: str) -> Iterator[Path]:
    """Yield the files that these flags name, as far as they are there."""
    for flag in flags:
        yield from filter(Path.is_file, map(Path, values(argv, flag)))
