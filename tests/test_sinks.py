"""The search of all sinks finds what it is there for: each kind of secret, in each sink."""

from __future__ import annotations

import base64
import json
import ssl
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests import leaks
from tests.issuer import b64url, rsa_key
from tests.kubectl import kubeconfig, kubectl
from tests.real.tailnet import Client
from tests.sinks import BASIC, HEADERS, WEBHOOK_TOKEN, Collector, Sinks

KEY = trustme.CA().issue_cert("a.test").private_key_pem.bytes().decode()


@dataclass
class Scene:
    """What a ``serve`` would have written, and the arguments that it would have been given."""

    folder: Path
    argv: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sinks = Sinks(self.folder)
        self.log = self.folder / "serve.log"
        self.argv += self.sinks.flags()
        for folder in map(Path, leaks.values(self.argv, "record-sessions")):
            folder.mkdir()

    def check(self) -> None:
        self.sinks.check(self.log, self.argv)

    def give(self, flag: str, content: str) -> None:
        """Give the ``serve`` a file of this content."""
        path = self.folder / flag
        path.write_text(content)
        self.argv.append(f"--{flag}={path}")


# --- Where ----------------------------------------------------------------------------------------


def _in_file(name: str, flag: str = "") -> Callable[[Scene, str], None]:
    """Plant a secret in a file, which is where a test's own flag has it, if there is one."""

    def plant(scene: Scene, secret: str) -> None:
        path = scene.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"found": secret}))
        if flag:
            scene.argv.append(f"--{flag}={path}")

    return plant


def _recorded(name: str, *, letters: bool = False) -> Callable[[Scene, str], None]:
    """Plant a secret in a recording, by letters as somebody types."""

    def plant(scene: Scene, secret: str) -> None:
        path = scene.folder / name
        path.parent.mkdir(exist_ok=True)
        scene.argv.append(f"--record-sessions={path.parent}")
        pieces = [*secret] if letters else [secret]
        lines = ['{"version":2}', *(json.dumps([0.1, "o", piece]) for piece in pieces)]
        path.write_text("\n".join([*lines, ""]))

    return plant


def _posted(name: str) -> Callable[[Scene, str], None]:
    def plant(scene: Scene, secret: str) -> None:
        collector: Collector = scene.sinks.collectors[name]
        tls = ssl.create_default_context(cafile=scene.folder / "every-sink" / "webhook-ca.crt")
        request = urllib.request.Request(collector.url, secret.encode(), method="POST")
        with urllib.request.urlopen(request, context=tls, timeout=10):
            pass

    return plant


SINKS: dict[str, Callable[[Scene, str], None]] = {
    "serve.log": _in_file("serve.log"),
    "audit.log": _in_file("every-sink/audit.log"),
    "audit-2026-01-02T03-04-05.678.log": _in_file("every-sink/audit-2026-01-02T03-04-05.678.log"),
    "own-audit": _in_file("own-audit", "audit-log-path"),
    "1.cast": _recorded("every-sink/recordings/1.cast"),
    "2.cast.part": _recorded("own-recordings/2.cast.part"),
    "the terminal of": _recorded("own-recordings/3.cast", letters=True),
    "audit webhook": _posted("audit webhook"),
    "spans": _posted("spans"),
    "admin pages": lambda scene, secret: scene.sinks.hear("admin pages", secret),
    "answers": lambda scene, secret: scene.sinks.hear("answers", secret),
}

# --- What -----------------------------------------------------------------------------------------


def _part(number: int) -> Callable[[Scene], str]:
    return lambda _: rsa_key().token({"sub": "somebody who is found"}).split(".")[number]


def _given(flag: str, content: str, secret: str) -> Callable[[Scene], str]:
    def give(scene: Scene) -> str:
        scene.give(flag, content)
        return secret

    return give


def _of_kubeconfig(user: dict[str, str], secret: str, flag: str) -> Callable[[Scene], str]:
    """Give a kubeconfig of this user, with all files that it may name."""

    def give(scene: Scene) -> str:
        (scene.folder / "user.key").write_text(KEY)
        (scene.folder / "user.token").write_text("token-in-a-file\n")
        scene.give(flag, kubeconfig("https://a.test", Path("/ca.crt"), user))
        return secret

    return give


def _serving_key(scene: Scene) -> str:
    (scene.folder / "certs").mkdir()
    (scene.folder / "certs" / "tls.key").write_text(KEY)
    scene.argv.append(f"--cert-dir={scene.folder / 'certs'}")
    return KEY.splitlines()[2]


def _answered(scene: Scene) -> str:
    leaks.hand_out_answer('{"token_type": "Bearer", "refresh_token": "a-refresh-token"}')
    return "a-refresh-token"


def _typed(scene: Scene) -> str:
    leaks.hand_out("typed by somebody")
    return "typed by somebody"


def _stranger(*parts: str) -> str:
    """A token that nobody here has handed out."""
    return ".".join(b64url(json.dumps({"a": part}).encode()) for part in parts)


DATA = base64.b64encode(KEY.encode()).decode()
SECRETS: dict[str, Callable[[Scene], str]] = {
    "a token's payload": _part(1),
    "a token's signature": _part(2),
    "a token of another process": lambda _: _stranger("RS256 and a kid", "a subject", "signed"),
    "a subprotocol": lambda _: f"base64url.bearer.authorization.k8s.io.{b64url(b'opaque')}",
    "the proxy's token": _given("upstream-token-file", "the-proxys-own\n", "the-proxys-own"),
    "the proxy's token in a kubeconfig": _of_kubeconfig(
        {"token": "token-in-a-kubeconfig"}, "token-in-a-kubeconfig", "kubeconfig"
    ),
    "the proxy's token beside a kubeconfig": _of_kubeconfig(
        {"tokenFile": "user.token"}, "token-in-a-file", "kubeconfig"
    ),
    "a client's key": _of_kubeconfig(
        {"client-key": "user.key"}, KEY.splitlines()[1], "audit-webhook-config-file"
    ),
    "a client's key in a kubeconfig": _of_kubeconfig(
        {"client-key-data": DATA}, DATA, "audit-webhook-config-file"
    ),
    "the audit webhook's token": lambda _: WEBHOOK_TOKEN,
    "the serving key": _serving_key,
    "a key given": _given("tls-private-key-file", KEY, KEY.splitlines()[1]),
    "a key of another process": lambda _: "-----BEGIN EC PRIVATE KEY-----",
    "a cookie": lambda _: HEADERS["Cookie"],
    "a header": lambda _: HEADERS["X-Secret"],
    "a basic credential": lambda _: BASIC,
    "a password": lambda _: "password-that-is-secret",
    "a basic credential of another process": lambda _: "basic b3RoZXI6b3RoZXI",
    "a client's secret": lambda _: Client("id", "secret-of-a-client", "").secret,
    "an issuer's answer": _answered,
    "what was typed": _typed,
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("sink", SINKS)
def test_each_kind_of_secret_is_found_in_each_sink(tmp_path: Path, sink: str, kind: str) -> None:
    scene = Scene(tmp_path)
    secret = SECRETS[kind](scene)
    SINKS[sink](scene, "nothing")
    scene.check()
    SINKS[sink](scene, f"before {secret} behind")
    with pytest.raises(AssertionError, match=r"the secret|what looks like") as found:
        scene.check()
    assert sink in str(found.value)


def test_whatever_was_typed_is_found_in_a_recording(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    recording = tmp_path / "every-sink" / "recordings" / "1.cast"
    recording.write_text('{"version":2}\n[0.1,"i","x"]\n')
    with pytest.raises(AssertionError, match="has what was typed"):
        scene.check()


def test_what_a_command_prints_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    for stream in ("stdout", "stderr"):
        getattr(sys, stream).write(f"so {HEADERS['X-Secret']} it is\n")
        with pytest.raises(AssertionError, match=f"is in {stream}"):
            capsys.readouterr()


def test_what_kubectl_is_told_is_searched(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(kubeconfig("https://127.0.0.1:1", tmp_path / "ca.crt", {}))
    with pytest.raises(AssertionError, match="is in what kubectl was told"):
        kubectl(config, "get", "pods", f"--chunk-size={HEADERS['X-Secret']}", check=False)
